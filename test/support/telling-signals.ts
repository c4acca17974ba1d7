// node --import: says when the process begins to listen to a signal.
process.on('newListener', (name) => {
  if (typeof name === 'string' && name.startsWith('SIG')) process.stdout.write(`it hears ${name}\n`)
})
