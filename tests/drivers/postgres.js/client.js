// The work with postgres (npm), which prepares and pipelines by itself: one connection per client.
'use strict';
const postgres = require('postgres');
const { rounds, sql: statement, text, say, length, atOnce } = require('../work.js');

async function work(n) {
  const sql = postgres({ host: process.env.PGHOST, port: Number(process.env.PGPORT), user: process.env.PGUSER,
    database: process.env.PGDATABASE, ssl: false, max: 1, idle_timeout: 0, connection: { application_name: `client ${n}` } });
  // unsafe() takes a text as it is; only with prepare does it keep the statement
  const rows = (to, name, ...values) => to.unsafe(statement(name, n), values, { prepare: true }).values();
  const value = async (to, name, ...values) => (await rows(to, name, ...values))[0][0];
  const fails = async (what) => {
    try {
      await what();
    } catch (error) {
      return error.code;
    }
    return 'no error';
  };

  for (let i = 1; i <= rounds; i++) {
    await rows(sql, 'INSERT', n, i, text(n, i));
    say(n, i, 'row', await value(sql, 'SELECT', n, i));
    say(n, i, 'sum', (await sql`SELECT ${n}::int * 1000 + ${i}::int AS sum`)[0].sum);
    say(n, i, 'own', await value(sql, 'OWN', String(i)));
    await sql.begin(async (tx) => {
      await rows(tx, 'UPDATE', n, i);
      say(n, i, 'tx', await value(tx, 'SELECT', n, i));
    });
    say(n, i, 'error', await fails(() => value(sql, 'DIVIDE', 0)));
    say(n, i, 'after', await value(sql, 'DIVIDE', 2));
    say(n, i, 'txerror', await fails(() => sql.begin(async (tx) => {
      await rows(tx, 'INSERT', n, 1000 + i, text(n, i));
      await rows(tx, 'INSERT', n, 1000 + i, text(n, i));
    })));
    say(n, i, 'lost', await value(sql, 'COUNT', n, 1000));
    const series = [];
    await sql.begin(async (tx) => {
      const pieces = tx`SELECT g FROM generate_series(1, ${100 + i}::int) g`.cursor(17);
      for await (const piece of pieces) series.push(...piece.map((row) => row.g));
    });
    say(n, i, 'series', series.length, series.reduce((sum, g) => sum + g, 0));
    say(n, i, 'null', await value(sql, 'NULL', null));
    const long = `${n}/${i} `.repeat(1000);
    say(n, i, 'long', length(await value(sql, 'LONG', long), long));
  }

  const sums = await Promise.all(Array.from({ length: 50 }, (_, i) => value(sql, 'SUM', n, i))); // in one pipeline
  say(n, '+ pipeline', sums.join(' '));
  const mixed = await Promise.all([value(sql, 'OWN', 'a'), fails(() => value(sql, 'DIVIDE', 0)), value(sql, 'OWN', 'b')]);
  say(n, '+ error in a pipeline', mixed.join(' '));
  await sql.begin(async (tx) => {
    const inner = await fails(() => tx.savepoint((deeper) => value(deeper, 'DIVIDE', 0)));
    say(n, '+ savepoint', inner, await value(tx, 'OWN', 'goes on'));
  });
  say(n, '+ simple', (await sql.unsafe(`SELECT ${n} AS a; SELECT ${n} + 1 AS a`)).map((one) => one[0].a).join(' '));
  say(n, 'end', await value(sql, 'END', n));
  await sql.end();
}

atOnce(work);
