# The work with Rails' ActiveRecord: models, relations and (where the line asks for it) SQL with binds; a connection per thread, of
# one of two tenants, whose search_path, time zone and statement_timeout Rails sets after the login.
require "active_record"
require "pg"

CLIENTS = ENV["CLIENTS"].to_i
ROUNDS = ENV["ROUNDS"].to_i
LOCK = Mutex.new
TENANTS = {
  "one" => { schema_search_path: "tenant_one, public", variables: { timezone: "Asia/Tokyo", statement_timeout: "61s" } },
  "two" => { schema_search_path: "tenant_two,public", min_messages: "notice",
             variables: { timezone: "America/New_York", statement_timeout: 62_000, lock_timeout: :default } },
}.freeze
CONFIG = { adapter: "postgresql", host: ENV["PGHOST"], port: ENV["PGPORT"].to_i, username: ENV["PGUSER"], database: ENV["PGDATABASE"],
           pool: CLIENTS, checkout_timeout: 300, reaping_frequency: 0 }.freeze
SETTINGS = %w[search_path TimeZone statement_timeout client_min_messages lock_timeout standard_conforming_strings IntervalStyle].freeze

def say(*words)
  LOCK.synchronize { $stdout.write(words.join(" ") + "\n") }
end

def sqlstate
  yield
  "no error"
rescue ActiveRecord::StatementInvalid => error
  error.cause.result.error_field(PG::Result::PG_DIAG_SQLSTATE)
end

# The models of one way to connect, as a Rails application with several databases declares them.
def models(tenant, prepared)
  name = "#{tenant.capitalize}#{prepared ? 'Prepared' : 'Plain'}"
  base = Object.const_set("#{name}Record", Class.new(ActiveRecord::Base) { self.abstract_class = true })
  base.establish_connection(CONFIG.merge(TENANTS[tenant], prepared_statements: prepared))
  work = Object.const_set("#{name}Work", Class.new(base) { self.table_name = "work"; self.primary_key = nil })
  thing = Object.const_set("#{name}Thing", Class.new(base) { self.table_name = "things" })
  { base: base, work: work, thing: thing }
end

# Binds go by the protocol: to a named statement or, without prepared statements, to the unnamed one.
def value(base, name, n, *values)
  rows(base, name, n, *values)[0][0]
end

def rows(base, name, n, *values)
  binds = values.map do |one|
    type = one.is_a?(Integer) ? ActiveRecord::Type::Integer.new : ActiveRecord::Type::String.new
    ActiveRecord::Relation::QueryAttribute.new("", one, type)
  end
  base.connection.exec_query(ENV["SQL_#{name}"].sub("{n}", n.to_s), name, binds, prepare: base.connection.prepared_statements).rows
end

def round(models, n, i)
  base, work = models.values_at(:base, :work)
  text = "client #{n}, round #{i}: \u00e4 'quoted'"
  mine = work.where(client: n, id: i)
  rows(base, "INSERT", n, n, i, text)
  say n, i, "row", mine.pluck(:v)[0]
  say n, i, "sum", value(base, "SUM", n, n, i)
  say n, i, "own", value(base, "OWN", n, i.to_s)
  base.transaction do
    mine.lock.pluck(:v)
    mine.update_all("v = v || '!'")
    say n, i, "tx", mine.pluck(:v)[0]
  end
  say n, i, "error", sqlstate { value(base, "DIVIDE", n, 0) }
  say n, i, "after", value(base, "DIVIDE", n, 2)
  say n, i, "txerror", sqlstate { base.transaction { 2.times { rows(base, "INSERT", n, n, 1000 + i, text) } } }
  say n, i, "lost", work.where(client: n).where("id >= ?", 1000).count
  series = rows(base, "SERIES", n, 100 + i).map(&:first)
  say n, i, "series", series.length, series.sum
  say n, i, "null", value(base, "NULL", n, nil)
  long = "#{n}/#{i} " * 1000
  answer = value(base, "LONG", n, long)
  say n, i, "long", answer == long * 2 ? answer.length : "wrong"
end

# What belongs to the tenant: after whatever it has done, in and out of transactions.
def tenant(models, n, i)
  base, thing = models.values_at(:base, :thing)
  show = -> { SETTINGS.map { |name| base.connection.select_value("SHOW #{name}") }.join(" ") }
  say n, "+", i, "settings", show.call
  mine = thing.create!(client: n, name: "thing #{i}", at: Time.utc(2024, 7, i, 12))
  say n, "+", i, "thing", thing.find(mine.id).name, base.connection.select_value("SELECT at::text FROM things WHERE id = #{mine.id}"),
      base.connection.select_value("SELECT tenant FROM whose")
  base.transaction do
    thing.where(client: n).update_all(name: "renamed")
    base.connection.execute("SET statement_timeout = '63s'; SET search_path = public")
    inner = sqlstate { base.transaction(requires_new: true) { value(base, "DIVIDE", n, 0) } }
    base.transaction(requires_new: true) do
      base.connection.execute("SET TIME ZONE 'Europe/Berlin'")
      raise ActiveRecord::Rollback
    end
    say n, "+", i, "inside", inner, show.call
    raise ActiveRecord::Rollback
  end
  say n, "+", i, "rolled back", thing.where(client: n, name: "renamed").count, show.call
  base.connection.execute("SET SESSION statement_timeout TO '64s'")
  say n, "+", i, "changed", base.connection.select_value("SHOW statement_timeout"), mine.reload.name
  base.connection.execute("RESET statement_timeout")
  say n, "+", i, "reset", base.connection.select_value("SHOW statement_timeout"), mine.destroy.destroyed?
  base.connection.execute("SET statement_timeout TO #{60 + n}000")
  say n, "+", i, "own", base.connection.select_value("SHOW statement_timeout")
  base.connection.reset! # DISCARD ALL, and its settings anew
end

def work(models, n)
  models[:base].connection_pool.with_connection do |connection|
    (1..ROUNDS).each do |i|
      round(models, n, i)
      next unless i % 4 == 0

      tenant(models, n, i)
      connection.clear_cache! # DEALLOCATE of each
    end
    say n, "+ columns", models[:thing].columns.map { |column| "#{column.name}:#{column.sql_type}" }.join(" ")
    say n, "end", value(models[:base], "END", n, n)
  end
end

ActiveRecord::Base.default_timezone = :utc
setup = PG.connect
setup.exec("SET client_min_messages = error")
TENANTS.each_key do |name|
  setup.exec("DROP SCHEMA IF EXISTS tenant_#{name} CASCADE; CREATE SCHEMA tenant_#{name}; " \
             "CREATE TABLE tenant_#{name}.things (id bigserial PRIMARY KEY, client int, name text, at timestamptz); " \
             "CREATE VIEW tenant_#{name}.whose AS SELECT text '#{name}' AS tenant")
end
setup.close
ways = TENANTS.keys.product([true, false]).map { |tenant, prepared| models(tenant, prepared) }
Thread.abort_on_exception = true
Array.new(CLIENTS) { |n| Thread.new { work(ways[n % ways.length], n) } }.each(&:join)
