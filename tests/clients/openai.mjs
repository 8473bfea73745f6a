// The openai package: chat, text, responses, embeddings, models, errors.
import OpenAI from 'openai'
import { assert, base, callTokens, checkArguments, checkSchema, done, embedModel, key, maxTokens, model, parameters, rejects, schema, test, thinkModel, tooLong, tools, user } from './tap.mjs'

const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 })
// ignore_eos: an answer has maxTokens tokens, whatever random weights would say.
const chat = { model, messages: user, max_tokens: maxTokens, seed: 1, ignore_eos: true }
const call = { model, messages: user, max_tokens: callTokens, seed: 1, tools }
const answer = { model, messages: user, max_tokens: callTokens, seed: 1, response_format: { type: 'json_schema', json_schema: { name: 'c', strict: true, schema } } }
const finishes = ['stop', 'length']

await test('chat, whole', async () => {
  const r = await client.chat.completions.create(chat)
  assert.equal(r.object, 'chat.completion')
  assert.equal(r.choices.length, 1)
  assert.equal(typeof r.choices[0].message.content, 'string')
  assert.equal(r.choices[0].message.role, 'assistant')
  assert.ok(finishes.includes(r.choices[0].finish_reason))
  assert.ok(r.usage.prompt_tokens > 0)
  assert.equal(r.usage.total_tokens, r.usage.prompt_tokens + r.usage.completion_tokens)
  assert.equal(typeof r.usage.prompt_tokens_details.cached_tokens, 'number')
  assert.ok(r.id.startsWith('chatcmpl-'))
})

await test('chat, streamed, with usage', async () => {
  const stream = await client.chat.completions.create({ ...chat, stream: true, stream_options: { include_usage: true } })
  let role = 0, finish = null, usage = null, id = null, text = ''
  for await (const c of stream) {
    id ??= c.id
    assert.equal(c.id, id)
    if (c.usage) usage = c.usage
    if (!c.choices.length) continue
    assert.equal(usage, null, 'usage comes last')
    if (c.choices[0].delta.role) role++
    text += c.choices[0].delta.content ?? ''
    finish = c.choices[0].finish_reason ?? finish
  }
  assert.equal(role, 1)
  assert.ok(finishes.includes(finish))
  assert.ok(usage.completion_tokens > 0)
})

await test('the same seed gives the same text, streamed or whole', async () => {
  const r = await client.chat.completions.create({ ...chat, temperature: 0 })
  const stream = client.chat.completions.stream({ ...chat, temperature: 0 })
  assert.equal(await stream.finalContent(), r.choices[0].message.content)
})

await test('two choices', async () => {
  const r = await client.chat.completions.create({ ...chat, n: 2 })
  assert.deepEqual(r.choices.map((c) => c.index), [0, 1])
})

await test('two choices, streamed', async () => {
  const stream = client.chat.completions.stream({ ...chat, n: 2 })
  assert.equal((await stream.finalChatCompletion()).choices.length, 2)
})

await test('log probabilities', async () => {
  const r = await client.chat.completions.create({ ...chat, logprobs: true, top_logprobs: 2 })
  const lp = r.choices[0].logprobs.content
  assert.ok(lp.length > 0)
  assert.ok(lp.every((l) => l.logprob <= 0 && typeof l.token === 'string'))
})

await test('a stop string ends the answer', async () => {
  const r = await client.chat.completions.create({ ...answer, stop: ['never said', '"warm"'] })
  const text = r.choices[0].message.content // the schema asks for "warm" in any case, first or last
  assert.ok(text.startsWith('{') && !text.includes('"warm"') && !text.includes('}'), text)
  assert.equal(r.choices[0].finish_reason, 'stop')
})

await test('a forced tool, whole', async () => {
  const r = await client.chat.completions.create({ ...call, parallel_tool_calls: false, tool_choice: { type: 'function', function: { name: 'forecast' } } })
  const m = r.choices[0].message
  assert.equal(r.choices[0].finish_reason, 'tool_calls')
  assert.equal(m.tool_calls[0].function.name, 'forecast')
  checkArguments(JSON.parse(m.tool_calls[0].function.arguments))
})

await test('required tools, streamed: each index is one call', async () => {
  const calls = []
  let finish = null
  for await (const c of await client.chat.completions.create({ ...call, tool_choice: 'required', stream: true })) {
    for (const t of c.choices[0].delta.tool_calls ?? []) {
      if (t.id) assert.equal(t.index, calls.push({ id: t.id, text: '' }) - 1, 'indexes count')
      calls[t.index].text += t.function.arguments
    }
    finish = c.choices[0].finish_reason ?? finish
  }
  assert.ok(calls.length >= 1)
  assert.equal(new Set(calls.map((c) => c.id)).size, calls.length)
  assert.ok(['tool_calls', 'length'].includes(finish), finish)
  const whole = finish === 'length' ? calls.slice(0, -1) : calls // the last one may be cut off
  for (const c of whole) checkArguments(JSON.parse(c.text))
})

await test('one required tool, streamed: the helper puts it together', async () => {
  const stream = client.chat.completions.stream({ ...call, tool_choice: 'required', parallel_tool_calls: false })
  const m = await stream.finalMessage()
  assert.equal(m.tool_calls.length, 1)
  checkArguments(JSON.parse(m.tool_calls[0].function.arguments))
  assert.equal((await stream.finalChatCompletion()).choices[0].finish_reason, 'tool_calls')
})

await test('the result of a tool goes back', async () => {
  const r = await client.chat.completions.create({
    ...chat, tools, tool_choice: 'none',
    messages: [...user, { role: 'assistant', content: null, tool_calls: [{ id: 'call_abc123', type: 'function', function: { name: 'weather', arguments: '{"unit":"celsius"}' } }] }, { role: 'tool', tool_call_id: 'call_abc123', content: 'rain' }],
  })
  assert.equal(typeof r.choices[0].message.content, 'string')
})

await test('structured output', async () => {
  const r = await client.chat.completions.create(answer)
  checkSchema(JSON.parse(r.choices[0].message.content))
})

await test('structured output, streamed', async () => {
  const stream = client.chat.completions.stream(answer)
  checkSchema(JSON.parse(await stream.finalContent()))
})

await test('a model with thoughts', async () => {
  if (thinkModel === 'none') return 'INGLE_TEST_THINK_MODEL is not set'
  const r = await client.chat.completions.create({ ...chat, model: thinkModel, max_tokens: callTokens, reasoning_effort: 'low' })
  assert.ok(r.choices[0].message.reasoning_content.length > 0)
  assert.equal(r.choices[0].message.reasoning, r.choices[0].message.reasoning_content)
})

await test('an aborted stream', async () => {
  const stream = await client.chat.completions.create({ ...chat, max_tokens: 2000, stream: true })
  for await (const c of stream) {
    assert.ok(c)
    stream.controller.abort()
    break
  }
  const r = await client.chat.completions.create(chat)
  assert.equal(r.choices.length, 1)
})

await test('text, whole and streamed', async () => {
  const ask = { model, prompt: 'Once upon a time', max_tokens: maxTokens, temperature: 0 }
  const r = await client.completions.create(ask)
  let text = '', finish = null
  for await (const c of await client.completions.create({ ...ask, stream: true })) {
    text += c.choices[0]?.text ?? ''
    finish = c.choices[0]?.finish_reason ?? finish
  }
  assert.equal(text, r.choices[0].text)
  assert.equal(finish, r.choices[0].finish_reason)
})

await test('text for two prompts', async () => {
  const r = await client.completions.create({ model, prompt: ['a', 'b'], n: 2, max_tokens: 4 })
  assert.deepEqual(r.choices.map((c) => c.index), [0, 1, 2, 3])
})

await test('responses, whole', async () => {
  const r = await client.responses.create({ model, input: 'Say hello.', max_output_tokens: maxTokens })
  assert.ok(['completed', 'incomplete'].includes(r.status))
  assert.equal(typeof r.output_text, 'string')
  assert.ok(r.usage.input_tokens > 0)
  assert.equal(r.store, false)
})

await test('responses, streamed: numbers without gaps, the same ids at the end', async () => {
  const stream = client.responses.stream({ model, input: 'Say hello.', max_output_tokens: maxTokens })
  const ids = []
  let k = 0
  for await (const e of stream) {
    assert.equal(e.sequence_number, k++)
    if (e.type === 'response.output_item.added') ids.push(e.item.id)
  }
  const r = await stream.finalResponse()
  assert.deepEqual(r.output.map((i) => i.id), ids)
})

await test('responses with a forced tool, streamed', async () => {
  const stream = client.responses.stream({ model, input: 'Weather?', max_output_tokens: callTokens, parallel_tool_calls: false, tools: [{ type: 'function', name: 'weather', parameters, strict: true }], tool_choice: { type: 'function', name: 'weather' } })
  const r = await stream.finalResponse()
  const call = r.output.find((i) => i.type === 'function_call')
  checkArguments(JSON.parse(call.arguments))
})

await test('responses: the history of a tool goes back', async () => {
  const r = await client.responses.create({ model, max_output_tokens: maxTokens, input: [{ role: 'user', content: 'Weather?' }, { type: 'function_call', call_id: 'call_1', name: 'weather', arguments: '{"unit":"celsius"}' }, { type: 'function_call_output', call_id: 'call_1', output: 'rain' }] })
  assert.equal(typeof r.output_text, 'string')
})

await test('responses with a schema', async () => {
  const r = await client.responses.create({ model, input: 'x', max_output_tokens: callTokens, text: { format: { type: 'json_schema', name: 'c', schema, strict: true } } })
  checkSchema(JSON.parse(r.output_text))
})

await test('responses keep no state and say so', async () => {
  const e = await rejects(() => client.responses.create({ model, input: 'x', previous_response_id: 'resp_1' }))
  assert.equal(e.status, 400)
  assert.equal(e.param, 'previous_response_id')
})

await test('embeddings: what base64 gives is what numbers give', async () => {
  if (embedModel === 'none') return 'no model for embeddings'
  const a = await client.embeddings.create({ model: embedModel, input: ['a', 'b'] })
  const b = await client.embeddings.create({ model: embedModel, input: ['a', 'b'], encoding_format: 'float' })
  assert.equal(a.data.length, 2)
  assert.ok(a.data[0].embedding.length > 0)
  assert.deepEqual(a.data.map((d) => d.embedding.map(Math.fround)), b.data.map((d) => d.embedding.map(Math.fround)))
})

await test('models', async () => {
  const ids = (await client.models.list()).data.map((m) => m.id)
  assert.ok(ids.length > 0)
  assert.equal((await client.models.retrieve(ids[0])).id, ids[0])
})

await test('a model that is not there', async () => {
  const e = await rejects(() => client.chat.completions.create({ ...chat, model: 'missing' }))
  assert.equal(e.status, 404)
  assert.equal(e.code, 'model_not_found')
})

await test('too long', async () => {
  const e = await rejects(() => client.chat.completions.create({ ...chat, messages: [{ role: 'user', content: tooLong }] }))
  assert.equal(e.status, 400)
  assert.equal(e.code, 'context_length_exceeded')
  assert.ok((e.message.match(/\d+/g) || []).length >= 2, e.message)
})

await test('too long, streamed: an error before the stream', async () => {
  const e = await rejects(() => client.chat.completions.create({ ...chat, stream: true, messages: [{ role: 'user', content: tooLong }] }))
  assert.equal(e.code, 'context_length_exceeded')
})

await test('a bad request names the field', async () => {
  const e = await rejects(() => client.chat.completions.create({ ...chat, temperature: 'hot' }))
  assert.equal(e.status, 400)
  assert.equal(e.param, 'temperature')
})

done()
