# Migrates as "rails db:migrate" does. Rails gives up when another one holds its lock; this one comes back until it is done.
require "active_record"

$ran = []

# Goes on when the other has been refused, so that there always is one.
class First < ActiveRecord::Migration[6.1]
  disable_ddl_transaction!

  def up
    $ran << 1
    create_table(:things) { |table| table.string :name, null: false }
    sleep 0.05 while select_value("SELECT count(*) FROM refused").to_i.zero?
  end
end

# In a transaction, as is usual.
class Second < ActiveRecord::Migration[6.1]
  def up
    $ran << 2
    add_column :things, :price, :decimal, precision: 10, scale: 2
    add_index :things, :name, unique: true
    execute "INSERT INTO things (name, price) VALUES ('a', 1.25)"
  end
end

ActiveRecord::Base.establish_connection(
  adapter: "postgresql", host: ENV["PGHOST"], port: ENV["PGPORT"].to_i, username: ENV["PGUSER"], database: ENV["PGDATABASE"],
  schema_search_path: "migrated", variables: { lock_timeout: "100s" }
)
ActiveRecord::Migration.verbose = false
steps = [[First, 1], [Second, 2]].map { |step, version| ActiveRecord::MigrationProxy.new(step.name, version, __FILE__, "") }
steps.each { |proxy| proxy.define_singleton_method(:load_migration) { Object.const_get(name).new(name, version) } }

# Rails asks whether its own tables are there and makes them before it takes its lock: of two at once, one can fail.
ActiveRecord::Base.transaction do
  ActiveRecord::Base.connection.execute("SELECT pg_advisory_xact_lock(1)")
  ActiveRecord::SchemaMigration.create_table
  ActiveRecord::InternalMetadata.create_table
end

refused = false
begin
  migrator = ActiveRecord::Migrator.new(:up, steps, ActiveRecord::SchemaMigration)
  migrator.migrate
rescue ActiveRecord::ConcurrentMigrationError
  ActiveRecord::Base.connection.execute("INSERT INTO refused VALUES (now())") unless refused
  refused = true
  sleep 0.05
  retry
end
versions = ActiveRecord::SchemaMigration.all_versions.join(" ")
abort "pending after all" unless ActiveRecord::Base.connection.select_value("SELECT price FROM things") == "1.25".to_d
puts refused ? "refused, then found #{versions}#{" and ran #{$ran}" unless $ran.empty?}" : "migrated #{versions}"
