// Runs steps in order and prints how each went. With together, what follows a
// failure stands on it and is not tried.
module.exports = async (list, together) => {
  let failed = false;
  for (const [name, step] of list) {
    try {
      await step();
      console.log('ok', name);
    } catch (err) {
      console.log(`not ok ${name}: ${String((err && err.stack) || err).replace(/\n\s*/g, ' | ')}`);
      failed = true;
      if (together) break;
    }
  }
  process.exit(failed ? 1 : 0);
};

module.exports.has = (text, want) => {
  if (!text.includes(want)) throw new Error(`${JSON.stringify(want)} is not in ${JSON.stringify(text)}`);
};
