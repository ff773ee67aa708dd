// The work with node-postgres: named queries, which it prepares once per connection; texts, cursors, many queries at once.
'use strict';
const { Client } = require('pg');
const Cursor = require('pg-cursor');
const { clients, rounds, sql, text, say, length, atOnce } = require('../work.js');

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

// Each hears what others say on one of three channels, while it says something else or nothing: all, in order and by whom.
const news = (n) => `news_${n % 3}`;
const allListen = meeting();
const allTold = meeting();

async function listen(client, n) {
  const heard = [];
  const ends = [];
  client.on('notification', (message) => {
    const [sender, number, known] = message.payload.split(' ');
    if (number === 'end') ends.shift()();
    else heard.push([Number(sender), Number(known) === message.processId ? number : `${number} of somebody else`]);
  });
  const tell = (channel, what) => client.query('SELECT pg_notify($1, $2)', [channel, `${n} ${what} ${client.processID}`]);
  const readToTheEnd = async () => {
    const end = new Promise((resolve) => ends.push(resolve));
    await tell(`own_${n}`, 'end');
    await end;
    const bySender = {};
    for (const [sender, number] of heard.splice(0)) (bySender[sender] ||= []).push(number);
    return Object.entries(bySender).map(([sender, numbers]) => `${sender}:${numbers}`).join(' ');
  };
  await client.query('BEGIN');
  await client.query(`LISTEN rolled_back_${n}`);
  await client.query('ROLLBACK');
  await client.query(`LISTEN own_${n}; LISTEN aside_${n}`);
  await client.query(`LISTEN ${news(n)}`);
  await tell(`aside_${n}`, 'aside');
  await allListen();
  for (let i = 0; i < 3; i++) await tell(news(n + 1), i);
  await client.query('BEGIN');
  await Promise.all([3, 4].map((i) => tell(news(n + 1), i)));
  await client.query('COMMIT');
  await client.query('BEGIN');
  await tell(news(n + 1), 'rolled back');
  await client.query('ROLLBACK');
  await client.query(`NOTIFY ${news(n + 1)}, '${n} 5 ${client.processID}'`);
  await allTold();
  say(n, '+ heard', await readToTheEnd());
  await client.query(`UNLISTEN aside_${n}`);
  await client.query(`NOTIFY rolled_back_${n}, '${n} rolled-back 0'; NOTIFY aside_${n}, '${n} late 0'`);
  say(n, '+ heard after UNLISTEN', await readToTheEnd());
  await client.query('UNLISTEN *');
}

// Nobody goes on before all have come.
function meeting() {
  let come = 0;
  let all;
  const met = new Promise((resolve) => { all = resolve; });
  return () => {
    if (++come === clients) all();
    return met;
  };
}

function take(cursor, count) {
  return new Promise((resolve, reject) => cursor.read(count, (error, rows) => (error ? reject(error) : resolve(rows))));
}

atOnce(work);
