import java.nio.charset.StandardCharsets;
import java.io.PrintStream;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.BrokenBarrierException;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

/** The work with pgjdbc: each client in one of its ways to send queries. */
public final class Client implements AutoCloseable {
  private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  /** Clients take these by turns. The first is the driver's default: prepared by name at the fifth use. */
  private static final String[] WAYS = {
    "",
    "prepareThreshold=1&autosave=always",
    "prepareThreshold=2&preparedStatementCacheQueries=0&binaryTransfer=true",
    "preferQueryMode=simple&readOnlyMode=always",
    "preferQueryMode=extendedCacheEverything&prepareThreshold=-1&autosave=conservative",
    "preferQueryMode=extendedForPrepared&preparedStatementCacheQueries=3",
  };

  private static final int CLIENTS = Integer.parseInt(System.getenv("CLIENTS"));
  private static final CyclicBarrier ALL_LISTEN = new CyclicBarrier(CLIENTS);
  private static final CyclicBarrier ALL_TOLD = new CyclicBarrier(CLIENTS);

  private final int n;
  private final Connection connection;
  private final Map<String, PreparedStatement> statements = new HashMap<>();

  private Client(int n) throws SQLException {
    this.n = n;
    connection = DriverManager.getConnection(String.format("jdbc:postgresql://%s:%s/%s?user=%s&sslmode=disable&gssEncMode=disable&%s",
        System.getenv("PGHOST"), System.getenv("PGPORT"), System.getenv("PGDATABASE"), System.getenv("PGUSER"), WAYS[n % WAYS.length]));
  }

  private void say(Object... words) {
    StringBuilder line = new StringBuilder().append(n);
    for (Object word : words) {
      line.append(' ').append(word);
    }
    synchronized (OUT) {
      OUT.println(line);
    }
  }

  private PreparedStatement prepared(String name, Object... values) throws SQLException {
    PreparedStatement statement = statements.get(name);
    if (statement == null) {
      String sql = System.getenv("SQL_" + name).replace("{n}", String.valueOf(n)).replaceAll("\\$\\d", "?");
      statement = connection.prepareStatement(sql);
      statements.put(name, statement);
    }
    for (int i = 0; i < values.length; i++) {
      if (values[i] == null) {
        statement.setNull(i + 1, Types.VARCHAR);
      } else {
        statement.setObject(i + 1, values[i]);
      }
    }
    return statement;
  }

  private void run(String name, Object... values) throws SQLException {
    prepared(name, values).executeUpdate();
  }

  private String value(String name, Object... values) throws SQLException {
    try (ResultSet rows = prepared(name, values).executeQuery()) {
      rows.next();
      return rows.getString(1);
    }
  }

  private interface Work {
    void run() throws SQLException;
  }

  private static String sqlstate(Work work) {
    try {
      work.run();
      return "no error";
    } catch (SQLException error) {
      return error.getSQLState();
    }
  }

  private void round(int i) throws SQLException {
    String text = String.format("client %d, round %d: \u00e4 'quoted'", n, i);
    run("INSERT", n, i, text);
    say(i, "row", value("SELECT", n, i));
    say(i, "sum", value("SUM", n, i));
    say(i, "own", value("OWN", String.valueOf(i)));
    connection.setAutoCommit(false);
    run("UPDATE", n, i);
    say(i, "tx", value("SELECT", n, i));
    connection.commit();
    connection.setAutoCommit(true);
    say(i, "error", sqlstate(() -> value("DIVIDE", 0)));
    say(i, "after", value("DIVIDE", 2));
    connection.setAutoCommit(false);
    say(i, "txerror", sqlstate(() -> {
      run("INSERT", n, 1000 + i, text);
      run("INSERT", n, 1000 + i, text);
    }));
    connection.rollback();
    say(i, "lost", value("COUNT", n, 1000));
    // in pieces, through a portal: only in a transaction
    PreparedStatement series = prepared("SERIES", 100 + i);
    series.setFetchSize(17);
    int count = 0;
    int sum = 0;
    try (ResultSet rows = series.executeQuery()) {
      while (rows.next()) {
        count++;
        sum += rows.getInt(1);
      }
    }
    connection.commit();
    connection.setAutoCommit(true);
    say(i, "series", count, sum);
    say(i, "null", value("NULL", (Object) null));
    String argument = (n + "/" + i + " ").repeat(1000);
    String answer = value("LONG", argument);
    say(i, "long", answer.equals(argument.repeat(2)) ? answer.length() : "wrong");
    if (i % 4 == 0) {
      closeStatements();
    }
  }

  private void closeStatements() throws SQLException {
    for (PreparedStatement statement : statements.values()) {
      statement.close();
    }
    statements.clear();
  }

  private void beyond() throws SQLException {
    PreparedStatement insert = prepared("INSERT");
    for (int i = 0; i < 50; i++) {
      insert.setInt(1, n);
      insert.setInt(2, 2000 + i);
      insert.setString(3, "batch " + i);
      insert.addBatch();
    }
    say("+ batch", insert.executeBatch().length, value("COUNT", n, 2000));
    insert.setInt(1, n);
    insert.setInt(2, 3000);
    insert.setString(3, "fails");
    insert.addBatch();
    insert.addBatch();
    say("+ failed batch", sqlstate(insert::executeBatch));
    try (Statement statement = connection.createStatement()) {
      statement.executeUpdate("DELETE FROM work WHERE client = " + n + " AND id >= 2000");
      List<String> several = new ArrayList<>();
      boolean more = statement.execute("SELECT " + n + "; SELECT " + n + " + 1");
      while (more) {
        statement.getResultSet().next();
        several.add(statement.getResultSet().getString(1));
        more = statement.getMoreResults();
      }
      say("+ several", several);
    }
    connection.setAutoCommit(false);
    value("SUM", n, 1);
    Savepoint savepoint = connection.setSavepoint();
    String state = sqlstate(() -> value("DIVIDE", 0));
    connection.rollback(savepoint);
    say("+ savepoint", state, value("SUM", n, 2));
    connection.commit();
    connection.setAutoCommit(true);
    PreparedStatement changes = connection.prepareStatement("SELECT ? AS changes_its_type");
    for (int i = 0; i < 8; i++) {
      if (i % 2 == 0) {
        changes.setInt(1, i);
      } else {
        changes.setString(1, "text " + i);
      }
      try (ResultSet rows = changes.executeQuery()) {
        rows.next();
        say("+ type", rows.getString(1), rows.getMetaData().getColumnTypeName(1));
      }
    }
    changes.close();
    for (int turn = 0; turn < 4; turn++) {
      tenant(turn);
    }
    connection.setSchema("public");
    listen();
  }

  private String one(String sql) throws SQLException {
    try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
      return rows.next() ? rows.getString(1) : "no row";
    }
  }

  /** What Hibernate and its kind do to a session: a schema, an isolation level, a look at what is there, and who may write. */
  private void tenant(int turn) throws SQLException {
    String schema = "tenant_" + (n + turn) % 3;
    connection.setSchema(schema);
    connection.setTransactionIsolation(turn % 2 == 0 ? Connection.TRANSACTION_SERIALIZABLE : Connection.TRANSACTION_READ_COMMITTED);
    List<String> found = new ArrayList<>();
    try (ResultSet columns = connection.getMetaData().getColumns(null, connection.getSchema(), "%", "%")) {
      while (columns.next()) {
        found.add(columns.getString("TABLE_NAME") + "." + columns.getString("COLUMN_NAME") + ":" + columns.getString("TYPE_NAME"));
      }
    }
    say("+ metadata", turn, found, one("SELECT increment_by FROM pg_sequences WHERE sequencename = 'thing_seq' AND schemaname = current_schema()"));
    connection.setReadOnly(turn >= 2);
    connection.setAutoCommit(false);
    String settings = one("SHOW search_path") + " " + one("SHOW transaction_isolation") + " " + one("SHOW transaction_read_only");
    String tenant = one("SELECT tenant FROM whose");
    String state = sqlstate(() -> {
      try (PreparedStatement insert = connection.prepareStatement("INSERT INTO thing (id, client) VALUES (nextval('thing_seq'), ?)")) {
        insert.setInt(1, n);
        insert.executeUpdate();
      }
    });
    if (turn == 1) {
      connection.commit();
    } else {
      if (state.equals("no error")) {
        connection.setSchema("public"); // it is taken back
      }
      connection.rollback();
    }
    connection.setAutoCommit(true);
    connection.setReadOnly(false);
    say("+ tenant", turn, tenant, settings, state, one("SELECT count(*) FROM thing WHERE client = " + n), one("SHOW default_transaction_isolation"),
        one("SHOW default_transaction_read_only"));
  }

  private static void makeTenants() throws SQLException {
    try (Client setup = new Client(0); Statement statement = setup.connection.createStatement()) {
      for (int i = 0; i < 3; i++) {
        statement.execute(String.format("DROP SCHEMA IF EXISTS tenant_%d CASCADE; CREATE SCHEMA tenant_%d; SET search_path = tenant_%d;"
            + "CREATE TABLE thing (id bigint PRIMARY KEY, client int, own_%d text); CREATE SEQUENCE thing_seq INCREMENT 50;"
            + "CREATE VIEW whose AS SELECT %d AS tenant", i, i, i, i, i));
      }
    }
  }

  private static String news(int n) {
    return "news_" + n % 3;
  }

  /** News from others, all, in order and by whom, while it says something else or nothing; none after a rollback or UNLISTEN. */
  private void listen() throws SQLException {
    PGConnection own = connection.unwrap(PGConnection.class);
    try (Statement statement = connection.createStatement();
        PreparedStatement notify = connection.prepareStatement("SELECT pg_notify(?, ?)")) {
      connection.setAutoCommit(false);
      statement.execute("LISTEN rolled_back_" + n);
      connection.rollback();
      connection.setAutoCommit(true);
      for (int i = 0; i < 7; i++) {
        statement.execute("LISTEN own_" + n);
      }
      statement.execute("LISTEN aside_" + n);
      statement.execute("LISTEN " + news(n));
      tell(notify, own, "aside_" + n, "aside");
      await(ALL_LISTEN);
      for (int i = 0; i < 7; i++) {
        tell(notify, own, news(n + 1), i);
      }
      connection.setAutoCommit(false);
      tell(notify, own, news(n + 1), 7);
      tell(notify, own, news(n + 1), 8);
      connection.commit();
      tell(notify, own, news(n + 1), "rolled back");
      connection.rollback();
      connection.setAutoCommit(true);
      statement.execute("NOTIFY " + news(n + 1) + ", '" + n + " 9 " + own.getBackendPID() + "'");
      await(ALL_TOLD);
      tell(notify, own, "own_" + n, "end");
      say("+ heard", hear(own));
      statement.execute("UNLISTEN aside_" + n);
      tell(notify, own, "rolled_back_" + n, "rolled back");
      tell(notify, own, "aside_" + n, "late");
      tell(notify, own, "own_" + n, "end");
      say("+ heard after UNLISTEN", hear(own));
      statement.execute("UNLISTEN *");
    }
  }

  private void tell(PreparedStatement notify, PGConnection own, String channel, Object what) throws SQLException {
    notify.setString(1, channel);
    notify.setString(2, n + " " + what + " " + own.getBackendPID());
    notify.execute();
  }

  private static void await(CyclicBarrier meeting) {
    try {
      meeting.await(300, TimeUnit.SECONDS);
    } catch (InterruptedException | BrokenBarrierException | TimeoutException error) {
      throw new IllegalStateException(error);
    }
  }

  /** What has come until its own end, by who sent it; each must know itself by the id that came with it. */
  private static Map<Integer, List<String>> hear(PGConnection own) throws SQLException {
    Map<Integer, List<String>> heard = new TreeMap<>();
    while (true) {
      PGNotification[] more = own.getNotifications(120000);
      if (more == null || more.length == 0) {
        throw new IllegalStateException("nothing came after " + heard);
      }
      for (PGNotification one : more) {
        String[] words = one.getParameter().split(" ");
        String known = words[words.length - 1];
        if (words[1].equals("end")) {
          return heard;
        }
        heard.computeIfAbsent(Integer.valueOf(words[0]), sender -> new ArrayList<>())
            .add(words[1] + (known.equals("" + one.getPID()) ? "" : " of somebody else"));
      }
    }
  }

  @Override
  public void close() throws SQLException {
    connection.close();
  }

  public static void main(String[] arguments) throws InterruptedException, SQLException {
    makeTenants();
    int rounds = Integer.parseInt(System.getenv("ROUNDS"));
    List<Thread> threads = new ArrayList<>();
    for (int n = 0; n < CLIENTS; n++) {
      int number = n;
      Thread thread = new Thread(() -> {
        try (Client client = new Client(number)) {
          for (int i = 1; i <= rounds; i++) {
            client.round(i);
          }
          client.beyond();
          client.say("end", client.value("END", number));
        } catch (Throwable error) {
          error.printStackTrace();
          System.exit(1); // others would wait for it
        }
      });
      threads.add(thread);
      thread.start();
    }
    for (Thread thread : threads) {
      thread.join();
    }
  }
}
