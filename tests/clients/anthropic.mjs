// @anthropic-ai/sdk.
import Anthropic from '@anthropic-ai/sdk'
import { assert, base, callTokens, checkArguments, checkSchema, done, key, maxTokens, model, parameters, rejects, schema, test, thinkModel, tooLong, user } from './tap.mjs'

const client = new Anthropic({ baseURL: base, apiKey: key, maxRetries: 0 })
const ask = { model, max_tokens: maxTokens, messages: user }
const tools = ['weather', 'forecast'].map((name) => ({ name, description: `The ${name}.`, input_schema: parameters }))

function checkMessage(m) {
  assert.equal(m.type, 'message')
  assert.equal(m.role, 'assistant')
  assert.ok(['end_turn', 'max_tokens', 'model_context_window_exceeded', 'stop_sequence'].includes(m.stop_reason), m.stop_reason)
  assert.ok(m.usage.input_tokens + m.usage.cache_read_input_tokens > 0)
  assert.equal(typeof m.usage.output_tokens, 'number')
}

await test('messages, whole', async () => {
  checkMessage(await client.messages.create({ ...ask, system: 'Be brief.' }))
})

await test('messages, streamed: the helper puts the same message together', async () => {
  const stream = client.messages.stream({ ...ask, temperature: 0, system: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } }] })
  let text = ''
  stream.on('text', (t) => (text += t))
  const m = await stream.finalMessage()
  checkMessage(m)
  assert.equal(m.content.filter((b) => b.type === 'text').map((b) => b.text).join(''), text)
})

await test('models, page by page', async () => {
  const first = await client.models.list({ limit: 1 })
  if (first.data[0].type !== 'model') return // the server of mock.mjs sees no headers
  const all = []
  for await (const m of client.models.list()) all.push(m.id)
  assert.ok(all.includes(model) || all.includes(model + ':latest'))
  const turned = []
  for await (const m of client.models.list({ limit: 1 })) turned.push(m.id)
  assert.deepEqual(turned, all)
  const back = []
  for await (const m of client.models.list({ limit: 1, before_id: all.at(-1) })) back.push(m.id)
  assert.deepEqual(back.reverse(), all.slice(0, -1))
  assert.equal(first.has_more, all.length > 1)
  assert.equal((await client.models.retrieve(all[0])).id, all[0])
  assert.equal((await rejects(() => client.models.list({ after_id: 'nobody' }))).status, 400)
})

await test('events in order', async () => {
  const types = []
  for await (const e of await client.messages.create({ ...ask, stream: true })) types.push(e.type)
  assert.equal(types[0], 'message_start')
  assert.deepEqual(types.slice(-2), ['message_delta', 'message_stop'])
  assert.equal(types.filter((t) => t === 'message_start').length, 1)
  assert.equal(types.filter((t) => t === 'content_block_start').length, types.filter((t) => t === 'content_block_stop').length)
})

await test('a forced tool, whole', async () => {
  const m = await client.messages.create({ ...ask, max_tokens: callTokens, tools, tool_choice: { type: 'tool', name: 'forecast', disable_parallel_tool_use: true } })
  assert.equal(m.stop_reason, 'tool_use')
  const use = m.content.find((b) => b.type === 'tool_use')
  assert.equal(use.name, 'forecast')
  checkArguments(use.input)
})

await test('any tool, streamed', async () => {
  const m = await client.messages.stream({ ...ask, max_tokens: callTokens, tools, tool_choice: { type: 'any' } }).finalMessage()
  const uses = m.content.filter((b) => b.type === 'tool_use')
  assert.ok(uses.length >= 1)
  assert.equal(new Set(uses.map((u) => u.id)).size, uses.length)
  const whole = m.stop_reason === 'max_tokens' ? uses.slice(0, -1) : uses // the last one may be cut off
  assert.ok(whole.length >= 1)
  for (const u of whole) checkArguments(u.input)
})

await test('the result of a tool goes back, with thoughts and a system turn inside', async () => {
  const m = await client.messages.create({
    ...ask, tools, tool_choice: { type: 'none' },
    messages: [...user, { role: 'assistant', content: [{ type: 'thinking', thinking: 'hm', signature: 'sig' }, { type: 'tool_use', id: 'toolu_call_1', name: 'weather', input: { unit: 'celsius' } }] }, { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_call_1', content: [{ type: 'text', text: 'rain' }] }, { type: 'text', text: 'So?' }] }],
  })
  checkMessage(m)
})

await test('a beginning of the answer', async () => {
  checkMessage(await client.messages.create({ ...ask, messages: [...user, { role: 'assistant', content: 'Hel' }] }))
})

await test('a schema', async () => {
  const m = await client.messages.create({ ...ask, max_tokens: callTokens, output_config: { format: { type: 'json_schema', schema } } })
  checkSchema(JSON.parse(m.content.find((b) => b.type === 'text').text))
})

await test('a model with thoughts: a signed block before the text', async () => {
  if (thinkModel === 'none') return 'INGLE_TEST_THINK_MODEL is not set'
  const m = await client.messages.stream({ ...ask, model: thinkModel, max_tokens: 2048, thinking: { type: 'enabled', budget_tokens: 1024 } }).finalMessage()
  assert.equal(m.content[0].type, 'thinking')
  assert.ok(m.content[0].signature.length > 0)
})

await test('counting', async () => {
  const few = await client.messages.countTokens({ model, messages: user })
  const more = await client.messages.countTokens({ model, messages: [{ role: 'user', content: 'Say hello. Say hello again, and then once more.' }], tools })
  assert.ok(few.input_tokens > 0 && more.input_tokens >= few.input_tokens)
})

await test('a key in either header', async () => {
  const other = new Anthropic({ baseURL: base, authToken: key, maxRetries: 0 })
  checkMessage(await other.messages.create(ask))
})

await test('a model that is not there', async () => {
  const e = await rejects(() => client.messages.create({ ...ask, model: 'missing' }))
  assert.equal(e.status, 404)
  assert.equal(e.error.error.type, 'not_found_error')
})

await test('too long: both numbers', async () => {
  const e = await rejects(() => client.messages.create({ ...ask, stream: true, messages: [{ role: 'user', content: tooLong }] }))
  assert.equal(e.status, 400)
  assert.match(e.error.error.message, /prompt is too long: \d+ tokens > \d+/)
})

await test('max_tokens is required', async () => {
  const e = await rejects(() => client.messages.create({ model, messages: user }))
  assert.equal(e.status, 400)
})

done()
