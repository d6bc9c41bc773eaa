// Makes the calls given on standard input, [[name, argument], ...], with the address and key given as arguments, and
// prints what the library returned or threw for each.
const { Braze } = require('braze-api');

const [address, key] = process.argv.slice(2);
const braze = new Braze(address, key);

async function made([name, argument]) {
  const parts = name.split('.');
  const call = parts.reduce((holder, part) => holder[part], braze);
  try {
    return { returned: await call(argument) };
  } catch (error) {
    return { thrown: { status: error.status, message: error.message } };
  }
}

async function main() {
  const calls = JSON.parse(require('fs').readFileSync(0, 'utf8'));
  const results = [];
  for (const each of calls) {
    results.push(await made(each));
  }
  process.stdout.write(JSON.stringify(results));
}

main();
