// What the client tests share: the address, the model, and TAP lines. Weights may be random, so nothing depends on what is
// said; tools and schemas are forced and small.
import assert from 'node:assert/strict'

export { assert }
export const base = (process.argv[2] || process.env.INGLE_TEST_URL || 'http://127.0.0.1:11434').replace(/\/+$/, '')
export const model = process.env.INGLE_TEST_MODEL || 'tiny'
export const embedModel = process.env.INGLE_TEST_EMBED_MODEL || model // "none": skip
export const thinkModel = process.env.INGLE_TEST_THINK_MODEL || 'none' // a model with thoughts
export const key = process.env.INGLE_TEST_KEY || 'none'
// More than any context that a test model has: 60,000 words.
export const tooLong = 'word '.repeat(60000)
export const maxTokens = 24
export const callTokens = 256

let n = 0
let failed = 0

export async function test(name, run) {
  n++
  try {
    const why = await run()
    console.log(`ok ${n} - ${name}${typeof why === 'string' ? ` # SKIP ${why}` : ''}`)
  } catch (e) {
    failed++
    console.log(`not ok ${n} - ${name}`)
    console.log(String(e?.stack || e).split('\n').slice(0, 12).map((l) => `# ${l}`).join('\n'))
  }
}

export function done() {
  console.log(`1..${n}`)
  process.exit(failed ? 1 : 0)
}

// The error that f rejects with.
export async function rejects(f) {
  try {
    await f()
  } catch (e) {
    return e
  }
  assert.fail('an error was expected')
}

export const user = [{ role: 'user', content: 'Say hello.' }]

export const schema = {
  type: 'object',
  properties: { colour: { enum: ['red', 'green'] }, warm: { type: 'boolean' } },
  required: ['colour', 'warm'],
  additionalProperties: false,
}

export function checkSchema(v) {
  assert.ok(['red', 'green'].includes(v.colour), `colour: ${JSON.stringify(v)}`)
  assert.equal(typeof v.warm, 'boolean')
}

export const parameters = {
  type: 'object',
  properties: { unit: { enum: ['celsius', 'fahrenheit'] } },
  required: ['unit'],
  additionalProperties: false,
}

export function checkArguments(v) {
  assert.ok(['celsius', 'fahrenheit'].includes(v.unit), `unit: ${JSON.stringify(v)}`)
}

export const tools = ['weather', 'forecast'].map((name) => ({
  type: 'function',
  function: { name, description: `The ${name}.`, parameters },
}))
