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
    "preferQueryMode=simple",
    "preferQueryMode=extendedCacheEverything&prepareThreshold=-1&autosave=conservative",
    "preferQueryMode=extendedForPrepared&preparedStatementCacheQueries=3",
  };

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
    listen();
  }

  /** Notifications of its own: all, in order, and by whom; none after a rollback or UNLISTEN. */
  private void listen() throws SQLException {
    PGConnection own = connection.unwrap(PGConnection.class);
    List<String> heard = new ArrayList<>();
    try (Statement statement = connection.createStatement();
        PreparedStatement notify = connection.prepareStatement("SELECT pg_notify(?, ?)")) {
      connection.setAutoCommit(false);
      statement.execute("LISTEN rolled_back_" + n);
      connection.rollback();
      connection.setAutoCommit(true);
      for (int i = 0; i < 7; i++) {
        statement.execute("LISTEN own_" + n);
      }
      for (int i = 0; i < 7; i++) {
        notify.setString(1, "own_" + n);
        notify.setString(2, "" + i);
        notify.execute();
      }
      hear(own, heard, 7);
      statement.execute("UNLISTEN own_" + n);
      statement.execute("LISTEN end_" + n);
      statement.execute("NOTIFY rolled_back_" + n + ", 'rolled back'");
      statement.execute("NOTIFY own_" + n + ", 'late'");
      statement.execute("NOTIFY end_" + n + ", 'end'");
      hear(own, heard, 8);
    }
    say("+ heard", heard);
  }

  private static void hear(PGConnection own, List<String> heard, int count) throws SQLException {
    while (heard.size() < count) {
      PGNotification[] more = own.getNotifications(10000);
      if (more == null || more.length == 0) {
        heard.add("nothing in ten seconds");
        return;
      }
      for (PGNotification one : more) {
        heard.add(one.getParameter() + (one.getPID() == own.getBackendPID() ? "" : " of somebody else"));
      }
    }
  }

  @Override
  public void close() throws SQLException {
    connection.close();
  }

  public static void main(String[] arguments) throws InterruptedException {
    int clients = Integer.parseInt(System.getenv("CLIENTS"));
    int rounds = Integer.parseInt(System.getenv("ROUNDS"));
    List<Thread> threads = new ArrayList<>();
    boolean[] failed = new boolean[1];
    for (int n = 0; n < clients; n++) {
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
          failed[0] = true;
        }
      });
      threads.add(thread);
      thread.start();
    }
    for (Thread thread : threads) {
      thread.join();
    }
    System.exit(failed[0] ? 1 : 0);
  }
}
