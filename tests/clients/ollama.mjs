// The ollama package.
import { Ollama } from 'ollama'
import { assert, base, callTokens, checkArguments, checkSchema, done, embedModel, maxTokens, model, rejects, schema, test, thinkModel, tooLong, tools, user } from './tap.mjs'

const client = new Ollama({ host: base })
const options = { num_predict: maxTokens, seed: 1, temperature: 0 }
const calls = { num_predict: callTokens, seed: 1, temperature: 0 }

function checkEnd(r) {
  assert.equal(r.done, true)
  assert.ok(['stop', 'length'].includes(r.done_reason))
  for (const k of ['total_duration', 'load_duration', 'prompt_eval_count', 'prompt_eval_duration', 'eval_count', 'eval_duration'])
    assert.equal(typeof r[k], 'number', k)
}

await test('chat, whole and streamed', async () => {
  const r = await client.chat({ model, messages: user, options })
  assert.equal(typeof r.message.content, 'string')
  checkEnd(r)
  let text = '', last
  for await (const part of await client.chat({ model, messages: user, options, stream: true })) {
    text += part.message.content
    last = part
  }
  checkEnd(last)
  assert.equal(text, r.message.content)
})

await test('generate, whole and streamed', async () => {
  const r = await client.generate({ model, prompt: 'Say hello.', options })
  checkEnd(r)
  let text = '', last
  for await (const part of await client.generate({ model, prompt: 'Say hello.', options, stream: true })) {
    text += part.response
    last = part
  }
  checkEnd(last)
  assert.ok(Array.isArray(last.context))
  assert.equal(text, r.response)
})

await test('raw', async () => {
  const r = await client.generate({ model, prompt: 'Once', raw: true, options })
  assert.equal(typeof r.response, 'string')
})

await test('load and unload', async () => {
  assert.equal((await client.generate({ model, prompt: '' })).done_reason, 'load')
  assert.equal((await client.chat({ model, messages: [] })).done_reason, 'load')
  assert.equal((await client.generate({ model, prompt: '', keep_alive: 0 })).done_reason, 'unload')
})

await test('a tool, whole and streamed: arguments are an object', async () => {
  const ask = { model, messages: user, tools: [tools[0]], tool_choice: 'required', options: calls }
  const r = await client.chat(ask)
  checkArguments(r.message.tool_calls[0].function.arguments)
  const found = []
  for await (const part of await client.chat({ ...ask, stream: true })) found.push(...(part.message.tool_calls ?? []))
  assert.equal(found[0].function.name, 'weather')
  checkArguments(found[0].function.arguments)
})

await test('the result of a tool goes back', async () => {
  const r = await client.chat({ model, options, messages: [...user, { role: 'assistant', content: '', tool_calls: [{ function: { name: 'weather', arguments: { unit: 'celsius' } } }] }, { role: 'tool', tool_name: 'weather', content: 'rain' }] })
  assert.equal(typeof r.message.content, 'string')
})

await test('a schema as format', async () => {
  const r = await client.chat({ model, messages: user, format: schema, options: calls })
  checkSchema(JSON.parse(r.message.content))
})

await test('think: false is no error anywhere; true is one without thoughts', async () => {
  checkEnd(await client.chat({ model, messages: user, think: false, options }))
})

await test('a model with thoughts', async () => {
  if (thinkModel === 'none') return 'INGLE_TEST_THINK_MODEL is not set'
  const r = await client.chat({ model: thinkModel, messages: user, think: true, options: calls })
  assert.ok(r.message.thinking.length > 0)
})

await test('embed', async () => {
  if (embedModel === 'none') return 'no model for embeddings'
  const r = await client.embed({ model: embedModel, input: ['a', 'b'] })
  assert.equal(r.embeddings.length, 2)
  for (const e of r.embeddings) assert.ok(Math.abs(Math.hypot(...e) - 1) < 1e-3)
  assert.equal(typeof r.prompt_eval_count, 'number')
  assert.ok((await client.embeddings({ model: embedModel, prompt: 'a' })).embedding.length > 0)
})

await test('list, ps, show, version', async () => {
  const list = await client.list()
  assert.ok(list.models.length > 0)
  for (const k of ['name', 'model', 'modified_at', 'size', 'digest', 'details']) assert.ok(k in list.models[0], k)
  assert.ok(Array.isArray((await client.ps()).models))
  const show = await client.show({ model: list.models[0].name })
  assert.ok(Array.isArray(show.capabilities))
  assert.equal(typeof show.template, 'string')
  const [major, minor, patch] = (await client.version()).version.split('.').map(Number)
  assert.ok(major * 1e6 + minor * 1e3 + patch >= 6004, 'at least 0.6.4')
})

await test('a model that is not there', async () => {
  const e = await rejects(() => client.chat({ model: 'missing', messages: user }))
  assert.equal(e.status_code, 404)
  assert.match(e.message, /missing/)
})

await test('too long: both numbers', async () => {
  const e = await rejects(() => client.chat({ model, messages: [{ role: 'user', content: tooLong }] }))
  assert.equal(e.status_code, 400)
  assert.ok((e.message.match(/\d+/g) || []).length >= 2, e.message)
})

await test('a wrong type of an option', async () => {
  const e = await rejects(() => client.chat({ model, messages: user, options: { num_ctx: 'big' } }))
  assert.equal(e.status_code, 400)
  assert.match(e.message, /num_ctx/)
})

await test('an aborted stream', async () => {
  const other = new Ollama({ host: base })
  const stream = await other.chat({ model, messages: user, options: { num_predict: 2000 }, stream: true })
  for await (const part of stream) {
    assert.ok(part)
    stream.abort()
    break
  }
  checkEnd(await client.chat({ model, messages: user, options }))
})

done()
