<?php
// The work with PDO (prepared statements and emulated ones) and with pg_prepare(). A PDO statement that goes is deallocated by SQL.
declare(strict_types=1);

$rounds = (int) getenv('ROUNDS');

// One write for each line, as the clients are processes with one output.
function say(...$words): void
{
    fwrite(STDOUT, implode(' ', $words) . "\n");
}

function text(string $name, int $n): string
{
    return str_replace('{n}', (string) $n, getenv("SQL_$name"));
}

// What runs statements: PDO, or the functions of the extension pgsql.
interface Driver
{
    public function rows(string $name, array $values): array;
    public function simple(string $sql): void;
    public function forget(): void;
}

final class DriverError extends Exception
{
    public function __construct(public string $state, string $message)
    {
        parent::__construct($message);
    }
}

final class WithPdo implements Driver
{
    private PDO $pdo;
    private array $statements = [];

    public function __construct(private int $n, bool $emulate)
    {
        $dsn = sprintf('pgsql:host=%s;port=%s;dbname=%s;sslmode=disable', getenv('PGHOST'), getenv('PGPORT'), getenv('PGDATABASE'));
        $this->pdo = new PDO($dsn, getenv('PGUSER'), '', [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_EMULATE_PREPARES => $emulate]);
    }

    public function rows(string $name, array $values): array
    {
        try {
            $statement = $this->statements[$name] ??= $this->pdo->prepare(preg_replace('/\$\d/', '?', text($name, $this->n)));
            $statement->execute($values);
            return $statement->columnCount() ? $statement->fetchAll(PDO::FETCH_NUM) : [];
        } catch (PDOException $error) {
            throw new DriverError((string) $error->getCode(), $error->getMessage());
        }
    }

    public function simple(string $sql): void
    {
        match ($sql) {
            'BEGIN' => $this->pdo->beginTransaction(),
            'COMMIT' => $this->pdo->commit(),
            'ROLLBACK' => $this->pdo->rollBack(),
        };
    }

    public function forget(): void
    {
        $this->statements = [];
    }
}

final class WithPgPrepare implements Driver
{
    private PgSql\Connection $connection;
    private array $prepared = [];
    private int $generation = 0;

    public function __construct(private int $n)
    {
        $this->connection = pg_connect(sprintf('host=%s port=%s dbname=%s user=%s sslmode=disable', getenv('PGHOST'), getenv('PGPORT'),
            getenv('PGDATABASE'), getenv('PGUSER')), PGSQL_CONNECT_FORCE_NEW);
    }

    private function result(bool $sent): array
    {
        if (!$sent) {
            throw new RuntimeException(pg_last_error($this->connection));
        }
        $error = null;
        $rows = [];
        while ($result = pg_get_result($this->connection)) {
            $state = pg_result_error_field($result, PGSQL_DIAG_SQLSTATE);
            if ($state) {
                $error ??= new DriverError($state, pg_result_error($result));
            } elseif (pg_num_fields($result)) {
                $rows = pg_fetch_all($result, PGSQL_NUM);
            }
        }
        return $error ? throw $error : $rows;
    }

    public function rows(string $name, array $values): array
    {
        $as = "{$name}_{$this->generation}";
        if (!isset($this->prepared[$as])) {
            $this->result(pg_send_prepare($this->connection, $as, text($name, $this->n)));
            $this->prepared[$as] = true;
        }
        return $this->result(pg_send_execute($this->connection, $as, $values));
    }

    public function simple(string $sql): void
    {
        $this->result(pg_send_query($this->connection, $sql));
    }

    public function forget(): void
    {
        // by turns: as an application that does not clean up, and as one that does
        if ($this->generation++ % 2) {
            foreach (array_keys($this->prepared) as $as) {
                $this->simple("DEALLOCATE \"$as\"");
            }
        } else {
            $this->simple('DEALLOCATE ALL');
        }
        $this->prepared = [];
    }
}

function sqlstate(callable $what): string
{
    try {
        $what();
        return 'no error';
    } catch (DriverError $error) {
        return $error->state;
    }
}

function work(Driver $driver, int $n, int $rounds): void
{
    $run = fn (string $name, ...$values) => $driver->rows($name, $values);
    $value = fn (string $name, ...$values) => $driver->rows($name, $values)[0][0];

    for ($i = 1; $i <= $rounds; $i++) {
        $text = "client $n, round $i: \u{e4} 'quoted'";
        $run('INSERT', $n, $i, $text);
        say($n, $i, 'row', $value('SELECT', $n, $i));
        say($n, $i, 'sum', $value('SUM', $n, $i));
        say($n, $i, 'own', $value('OWN', $i));
        $driver->simple('BEGIN');
        $run('UPDATE', $n, $i);
        say($n, $i, 'tx', $value('SELECT', $n, $i));
        $driver->simple('COMMIT');
        say($n, $i, 'error', sqlstate(fn () => $value('DIVIDE', 0)));
        say($n, $i, 'after', $value('DIVIDE', 2));
        $driver->simple('BEGIN');
        say($n, $i, 'txerror', sqlstate(function () use ($run, $n, $i, $text) {
            $run('INSERT', $n, 1000 + $i, $text);
            $run('INSERT', $n, 1000 + $i, $text);
        }));
        $driver->simple('ROLLBACK');
        say($n, $i, 'lost', $value('COUNT', $n, 1000));
        $rows = $run('SERIES', 100 + $i);
        say($n, $i, 'series', count($rows), array_sum(array_column($rows, 0)));
        say($n, $i, 'null', $value('NULL', null));
        $long = str_repeat("$n/$i ", 1000);
        $answer = $value('LONG', $long);
        say($n, $i, 'long', $answer === $long . $long ? strlen($answer) : 'wrong');
        if ($i % 4 === 0) {
            $driver->forget();
        }
    }
    say($n, 'end', $value('END', $n));
}

$children = [];
for ($n = 0; $n < (int) getenv('CLIENTS'); $n++) {
    $pid = pcntl_fork();
    if ($pid === 0) {
        work(match (getenv('PHP_DRIVER') ?: 'pdo') {
            'pdo' => new WithPdo($n, false),
            'emulated' => new WithPdo($n, true),
            'pg_prepare' => new WithPgPrepare($n),
        }, $n, $rounds);
        exit(0);
    }
    $children[] = $pid;
}
$failed = 0;
foreach ($children as $pid) {
    pcntl_waitpid($pid, $status);
    $failed |= $status !== 0 ? 1 : 0;
}
exit($failed);
