// What clients in JavaScript share: the work of drivers.py as they find it in their environment, and its lines.
'use strict';

exports.clients = Number(process.env.CLIENTS);
exports.rounds = Number(process.env.ROUNDS);
exports.sql = (name, n) => process.env[`SQL_${name}`].replace('{n}', n);
exports.text = (n, i) => `client ${n}, round ${i}: \u00e4 'quoted'`;
exports.say = (...words) => process.stdout.write(words.join(' ') + '\n');
exports.length = (answer, argument) => (answer === argument.repeat(2) ? answer.length : 'wrong');

// work(n) for all clients at once; the program ends with 1 when one of them fails.
exports.atOnce = async (work) => {
  try {
    await Promise.all(Array.from({ length: exports.clients }, (_, n) => work(n)));
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
};
