// The work with pgx: each client in one of its ways to send queries.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Clients take these by turns. The first is the default: every statement is prepared by name and kept.
// QueryExecModeDescribeExec parses the unnamed statement in one round trip and uses it in the next.
var modes = []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeExec,
	pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeDescribeExec}

type client struct {
	n        int
	conn     *pgx.Conn
	prepares bool            // under names of its own, closed and prepared again
	named    map[string]bool // those that are prepared
	lines    *lines
}

type lines struct {
	sync.Mutex
}

func (c *client) say(words ...any) {
	line := strconv.Itoa(c.n)
	for _, word := range words {
		line += fmt.Sprint(" ", word)
	}
	c.lines.Lock()
	defer c.lines.Unlock()
	fmt.Println(line)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

var ctx = context.Background()

// What is given to Query: a name, when this client prepares its statements itself; or the text.
func (c *client) sql(name string) string {
	text := strings.ReplaceAll(os.Getenv("SQL_"+name), "{n}", strconv.Itoa(c.n))
	if !c.prepares {
		return text
	}
	if !c.named[name] {
		_, err := c.conn.Prepare(ctx, name, text)
		check(err)
		c.named[name] = true
	}
	return name
}

type querier interface {
	QueryRow(ctx context.Context, sql string, values ...any) pgx.Row
	Exec(ctx context.Context, sql string, values ...any) (pgconn.CommandTag, error)
}

func (c *client) try(on querier, name string, values ...any) (string, error) {
	var got any
	err := on.QueryRow(ctx, c.sql(name), values...).Scan(&got)
	return fmt.Sprint(got), err
}

func (c *client) value(on querier, name string, values ...any) string {
	got, err := c.try(on, name, values...)
	check(err)
	return got
}

func sqlstate(err error) string {
	var problem *pgconn.PgError
	if errors.As(err, &problem) {
		return problem.Code
	}
	return fmt.Sprint(err)
}

func (c *client) round(i int) {
	text := fmt.Sprintf("client %d, round %d: \u00e4 'quoted'", c.n, i)
	_, err := c.conn.Exec(ctx, c.sql("INSERT"), c.n, i, text)
	check(err)
	c.say(i, "row", c.value(c.conn, "SELECT", c.n, i))
	c.say(i, "sum", c.value(c.conn, "SUM", c.n, i))
	c.say(i, "own", c.value(c.conn, "OWN", strconv.Itoa(i)))
	check(pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, c.sql("UPDATE"), c.n, i)
		check(err)
		c.say(i, "tx", c.value(tx, "SELECT", c.n, i))
		return nil
	}))
	_, err = c.try(c.conn, "DIVIDE", 0)
	c.say(i, "error", sqlstate(err))
	c.say(i, "after", c.value(c.conn, "DIVIDE", 2))
	c.say(i, "txerror", sqlstate(pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
		for {
			if _, err := tx.Exec(ctx, c.sql("INSERT"), c.n, 1000+i, text); err != nil {
				return err
			}
		}
	})))
	c.say(i, "lost", c.value(c.conn, "COUNT", c.n, 1000))
	rows, err := c.conn.Query(ctx, c.sql("SERIES"), 100+i)
	check(err)
	series, err := pgx.CollectRows(rows, pgx.RowTo[int])
	check(err)
	sum := 0
	for _, g := range series {
		sum += g
	}
	c.say(i, "series", len(series), sum)
	c.say(i, "null", c.value(c.conn, "NULL", nil))
	argument := strings.Repeat(fmt.Sprintf("%d/%d ", c.n, i), 1000)
	if answer := c.value(c.conn, "LONG", argument); answer == argument+argument {
		c.say(i, "long", len(answer))
	} else {
		c.say(i, "long", "wrong")
	}
}

func (c *client) forget() {
	for name := range c.named {
		check(c.conn.Deallocate(ctx, name))
	}
	c.named = map[string]bool{}
	check(c.conn.DeallocateAll(ctx))
}

func (c *client) beyond() {
	batch := &pgx.Batch{} // a pipeline
	for i := 0; i < 30; i++ {
		batch.Queue(c.sql("SUM"), c.n, i)
	}
	results := c.conn.SendBatch(ctx, batch)
	sums := 0
	for i := 0; i < 30; i++ {
		var sum int
		check(results.QueryRow().Scan(&sum))
		sums += sum
	}
	check(results.Close())
	c.say("+ batch", sums)
	failing := &pgx.Batch{}
	failing.Queue(c.sql("OWN"), "before")
	failing.Queue(c.sql("DIVIDE"), 0)
	failing.Queue(c.sql("OWN"), "behind")
	c.say("+ failed batch", sqlstate(c.conn.SendBatch(ctx, failing).Close()), c.value(c.conn, "OWN", "after it"))
	rows := pgx.CopyFromSlice(50, func(i int) ([]any, error) {
		return []any{int32(c.n), int32(2000 + i), fmt.Sprint("copied ", i)}, nil
	})
	copied, err := c.conn.CopyFrom(ctx, pgx.Identifier{"work"}, []string{"client", "id", "v"}, rows)
	check(err)
	c.say("+ copied", copied, c.value(c.conn, "COUNT", c.n, 2000))
	_, err = c.conn.Exec(ctx, "DELETE FROM work WHERE client = $1 AND id >= 2000", c.n)
	check(err)
	check(pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
		err := pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error { // a savepoint
			_, err := c.try(inner, "DIVIDE", 0)
			return err
		})
		c.say("+ savepoint", sqlstate(err), c.value(tx, "OWN", "goes on"))
		return nil
	}))
}

func number(name string) int {
	value, err := strconv.Atoi(os.Getenv(name))
	check(err)
	return value
}

func main() {
	rounds, shared := number("ROUNDS"), &lines{}
	var group sync.WaitGroup
	for n := 0; n < number("CLIENTS"); n++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			config, err := pgx.ParseConfig("sslmode=disable")
			check(err)
			config.DefaultQueryExecMode = modes[n%len(modes)]
			conn, err := pgx.ConnectConfig(ctx, config)
			check(err)
			c := &client{n: n, conn: conn, prepares: n%(2*len(modes)) == 0, named: map[string]bool{}, lines: shared}
			for i := 1; i <= rounds; i++ {
				c.round(i)
				if i%4 == 0 {
					c.forget()
				}
			}
			c.beyond()
			c.say("end", c.value(conn, "END", n))
			check(conn.Close(ctx))
		}(n)
	}
	group.Wait()
}
