# The work with Ruby's pg: prepare and exec_prepared under names of one's own, exec_params, pipeline mode.
require "pg"

ROUNDS = ENV["ROUNDS"].to_i
LOCK = Mutex.new

def say(*words)
  LOCK.synchronize { $stdout.write(words.join(" ") + "\n") }
end

def sqlstate
  yield
  "no error"
rescue PG::Error => error
  error.result ? error.result.error_field(PG::Result::PG_DIAG_SQLSTATE) : error.message
end

def work(n)
  conn = PG.connect(application_name: "client #{n}")
  prepared = {}
  prepare = lambda do |name|
    unless prepared[name]
      # the same name in all clients, also where the text is not the same
      conn.prepare(name, ENV["SQL_#{name}"].sub("{n}", n.to_s))
      prepared[name] = true
    end
  end
  run = lambda do |name, *values|
    prepare.call(name)
    conn.exec_prepared(name, values)
  end
  value = ->(name, *values) { run.call(name, *values).getvalue(0, 0) }

  (1..ROUNDS).each do |i|
    text = "client #{n}, round #{i}: \u00e4 'quoted'"
    run.call("INSERT", n, i, text)
    say n, i, "row", value.call("SELECT", n, i)
    say n, i, "sum", value.call("SUM", n, i)
    say n, i, "own", value.call("OWN", i)
    conn.transaction do
      run.call("UPDATE", n, i)
      say n, i, "tx", value.call("SELECT", n, i)
    end
    say n, i, "error", sqlstate { value.call("DIVIDE", 0) }
    say n, i, "after", value.call("DIVIDE", 2)
    say n, i, "txerror", sqlstate { conn.transaction { 2.times { run.call("INSERT", n, 1000 + i, text) } } }
    say n, i, "lost", value.call("COUNT", n, 1000)
    series = run.call("SERIES", 100 + i).column_values(0).map(&:to_i)
    say n, i, "series", series.length, series.sum
    say n, i, "null", value.call("NULL", nil)
    long = "#{n}/#{i} " * 1000
    answer = value.call("LONG", long)
    say n, i, "long", answer == long * 2 ? answer.length : "wrong"
    next unless i % 4 == 0

    conn.exec("DEALLOCATE ALL")
    prepared.clear
  end

  say n, "+ params", conn.exec_params("SELECT $1::int8, $2::text", [n << 33, "of #{n}"]).values[0].join(" ")
  say n, "+ twice", (prepare.call("SUM"); sqlstate { conn.prepare("SUM", "SELECT 1") })
  say n, "+ unknown", sqlstate { conn.exec_prepared("never prepared", []) }
  conn.transaction do
    conn.send_query_params("SELECT g FROM generate_series(1, $1::int) g", [50 + n])
    conn.set_single_row_mode
    say n, "+ single rows", conn.get_result.stream_each_row.sum { |row| row[0].to_i }
  end
  if conn.respond_to?(:enter_pipeline_mode)
    conn.enter_pipeline_mode
    30.times { |i| conn.send_query_prepared("SUM", [n, i]) }
    conn.pipeline_sync
    sums = []
    loop do
      result = conn.get_result
      next if result.nil?
      break if result.result_status == PG::PGRES_PIPELINE_SYNC

      sums << result.getvalue(0, 0)
    end
    conn.exit_pipeline_mode
    say n, "+ pipeline", sums.join(" ")
  end
  say n, "end", value.call("END", n)
  conn.close
end

Thread.abort_on_exception = true
Array.new(ENV["CLIENTS"].to_i) { |n| Thread.new { work(n) } }.each(&:join)
