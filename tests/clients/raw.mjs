// What the packages hide: bytes, heads and fields, by plain requests; also the routes of editors.
import { assert, base, done, embedModel, maxTokens, model, test, user } from './tap.mjs'

const post = (path, body, headers = {}) => fetch(base + path, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) })
const json = async (path, body) => (await post(path, body)).json()

await test('the stream of chat: data lines, the end mark, content type', async () => {
  const r = await post('/v1/chat/completions', { model, messages: user, max_tokens: maxTokens, stream: true })
  assert.match(r.headers.get('content-type'), /^text\/event-stream/)
  const text = await r.text()
  assert.ok(text.endsWith('data: [DONE]\n\n'))
  for (const line of text.split('\n')) assert.ok(line === '' || line.startsWith('data: ') || line.startsWith(':'), line)
})

await test('ignored fields are named; the answer says what ran', async () => {
  const r = await json('/v1/chat/completions', { model, messages: user, max_tokens: 4, frobnicate: 1, user: 'u' })
  assert.ok(r.ingle.ignored.includes('frobnicate'))
  for (const k of ['digest', 'n_ctx', 'device', 'ran_on', 'n_prompt']) assert.ok(k in r.ingle, k)
})

await test('a parameter that cannot be honoured is refused by name', async () => {
  const r = await post('/v1/chat/completions', { model, messages: user, mirostat: 2 })
  assert.equal(r.status, 400)
  assert.equal((await r.json()).error.param, 'mirostat')
})

await test('embeddings: numbers where nothing is said, base64 of little-endian floats where asked', async () => {
  if (embedModel === 'none') return 'no model for embeddings'
  const a = await json('/v1/embeddings', { model: embedModel, input: 'a' })
  const b = await json('/v1/embeddings', { model: embedModel, input: 'a', encoding_format: 'base64' })
  const bytes = Buffer.from(b.data[0].embedding, 'base64')
  const floats = Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i))
  assert.deepEqual(a.data[0].embedding.map(Math.fround), floats)
})

await test('the stream of Ollama: one object a line', async () => {
  const r = await post('/api/chat', { model, messages: user, options: { num_predict: maxTokens } })
  assert.match(r.headers.get('content-type'), /^application\/x-ndjson/)
  const lines = (await r.text()).trimEnd().split('\n').map((l) => JSON.parse(l))
  assert.equal(lines.at(-1).done, true)
  assert.ok(lines.every((l) => l.model && l.created_at && l.message.role === 'assistant'))
})

await test('errors in each form', async () => {
  const openai = await json('/v1/chat/completions', { model: 'missing', messages: user })
  assert.equal(typeof openai.error.message, 'string')
  const ollama = await json('/api/chat', { model: 'missing', messages: user })
  assert.equal(typeof ollama.error, 'string')
  const anthropic = await json('/v1/messages', { model: 'missing', max_tokens: 1, messages: user })
  assert.equal(anthropic.type, 'error')
})

await test('completion and infill', async () => {
  const c = await json('/completion', { model, prompt: 'Once', n_predict: 4 })
  for (const k of ['content', 'tokens_predicted', 'tokens_evaluated', 'stop_type', 'timings', 'truncated', 'tokens_cached']) assert.ok(k in c, k)
  const r = await post('/infill', { model, input_prefix: 'a', input_suffix: 'b', n_predict: 4, response_fields: ['content', 'timings/prompt_n'] })
  if (r.status === 501) return 'the model has no tokens to fill in the middle'
  assert.deepEqual(Object.keys(await r.json()).sort(), ['content', 'timings/prompt_n'])
})

await test('tokens and back, template, properties', async () => {
  const t = await json('/tokenize', { model, content: 'Hello' })
  assert.ok(t.tokens.length > 0)
  assert.equal(typeof (await json('/detokenize', { model, tokens: t.tokens })).content, 'string')
  assert.equal(typeof (await json('/apply-template', { model, messages: user })).prompt, 'string')
  const p = await (await fetch(`${base}/props?model=${encodeURIComponent(model)}`)).json()
  assert.ok('default_generation_settings' in p && 'total_slots' in p)
})

await test('no such path, no such method', async () => {
  assert.equal((await fetch(`${base}/v1/nothing`)).status, 404)
  assert.equal((await fetch(`${base}/v1/chat/completions`)).status, 405)
})

await test('a body that is no JSON', async () => {
  const r = await fetch(`${base}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"model":' })
  assert.equal(r.status, 400)
})

done()
