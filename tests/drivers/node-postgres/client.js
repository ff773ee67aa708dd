// The work with node-postgres: named queries, which it prepares once per connection; texts, cursors, many queries at once.
'use strict';
const { Client } = require('pg');
const Cursor = require('pg-cursor');
const { rounds, sql, text, say, length, atOnce } = require('../work.js');

async function work(n) {
  const client = new Client({ host: process.env.PGHOST, port: Number(process.env.PGPORT), user: process.env.PGUSER,
    database: process.env.PGDATABASE, ssl: false, application_name: `client ${n}` });
  await client.connect();
  // All clients call theirs the same, also where the text is their own. There is no way to close one: a new name prepares anew.
  let generation = 0;
  const query = (name, ...values) => client.query({ name: `${name}_${generation}`, text: sql(name, n), values, rowMode: 'array' });
  const value = async (name, ...values) => (await query(name, ...values)).rows[0][0];
  const fails = async (what) => {
    try {
      await what();
    } catch (error) {
      return error.code;
    }
    return 'no error';
  };

  for (let i = 1; i <= rounds; i++) {
    await query('INSERT', n, i, text(n, i));
    say(n, i, 'row', await value('SELECT', n, i));
    say(n, i, 'sum', await value('SUM', n, i));
    say(n, i, 'own', await value('OWN', String(i)));
    await client.query('BEGIN');
    await query('UPDATE', n, i);
    say(n, i, 'tx', await value('SELECT', n, i));
    await client.query('COMMIT');
    say(n, i, 'error', await fails(() => value('DIVIDE', 0)));
    say(n, i, 'after', await value('DIVIDE', 2));
    await client.query('BEGIN');
    await query('INSERT', n, 1000 + i, text(n, i));
    say(n, i, 'txerror', await fails(() => query('INSERT', n, 1000 + i, text(n, i))));
    await client.query('ROLLBACK');
    say(n, i, 'lost', await value('COUNT', n, 1000));
    const series = (await query('SERIES', 100 + i)).rows;
    say(n, i, 'series', series.length, series.reduce((sum, row) => sum + row[0], 0));
    say(n, i, 'null', await value('NULL', null));
    const long = `${n}/${i} `.repeat(1000);
    say(n, i, 'long', length(await value('LONG', long), long));
    if (i % 4 === 0) generation++;
  }

  // not waited for one by one: they wait in the client, or (where the version can) are sent in a pipeline
  const sums = await Promise.all(Array.from({ length: 30 }, (_, i) => value('SUM', n, i)));
  say(n, '+ together', sums.join(' '));
  const unnamed = await client.query(sql('OWN', n), ['unnamed']);
  say(n, '+ unnamed', Object.values(unnamed.rows[0])[0]);
  await client.query('BEGIN');
  const cursor = client.query(new Cursor(sql('SERIES', n), [200 + n]));
  const read = [];
  for (let rows = await take(cursor, 17); rows.length; rows = await take(cursor, 17)) read.push(rows.length);
  await new Promise((resolve) => cursor.close(resolve));
  await client.query('COMMIT');
  say(n, '+ cursor', read.join(' '));
  const several = await client.query(`SELECT ${n} AS a; BEGIN; SELECT ${n} + 1 AS a; COMMIT`);
  say(n, '+ several', several.map((one) => one.rows.map((row) => row.a).join()).join());
  await listen(client, n);
  say(n, 'end', await value('END', n));
  await client.end();
}

// Notifications of its own: all, in order, and by whom; none after a rollback or UNLISTEN.
async function listen(client, n) {
  const heard = [];
  const end = new Promise((resolve) => client.on('notification', (message) => {
    heard.push(`${message.payload}${message.processId === client.processID ? '' : ' of somebody else'}`);
    if (message.payload === 'end') resolve();
  }));
  await client.query('BEGIN');
  await client.query(`LISTEN rolled_back_${n}`);
  await client.query('ROLLBACK');
  await client.query(`LISTEN own_${n}`);
  for (let i = 0; i < 3; i++) await client.query('SELECT pg_notify($1, $2)', [`own_${n}`, `${i}`]);
  await client.query(`LISTEN end_${n}; UNLISTEN own_${n}`);
  await client.query(`NOTIFY rolled_back_${n}, 'rolled back'; NOTIFY own_${n}, 'late'; NOTIFY end_${n}, 'end'`);
  await end;
  say(n, '+ heard', heard.join(', '));
}

function take(cursor, count) {
  return new Promise((resolve, reject) => cursor.read(count, (error, rows) => (error ? reject(error) : resolve(rows))));
}

atOnce(work);
