// What braze-api requires by this name: a function that is called as the one that Node.js has.
module.exports = fetch;
