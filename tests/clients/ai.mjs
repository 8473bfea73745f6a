// The ai package over @ai-sdk/openai-compatible and ollama-ai-provider-v2.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { embedMany, generateText, jsonSchema, Output, streamText, tool } from 'ai'
import { createOllama } from 'ollama-ai-provider-v2'
import { assert, base, callTokens, checkArguments, checkSchema, done, embedModel, maxTokens, model, parameters, rejects, schema, test, tooLong } from './tap.mjs'

const compatible = createOpenAICompatible({ name: 'ingle', baseURL: `${base}/v1`, includeUsage: true, supportsStructuredOutputs: true })
const ollama = createOllama({ baseURL: `${base}/api` })
const weather = tool({ description: 'The weather.', inputSchema: jsonSchema(parameters) })
const output = Output.object({ schema: jsonSchema(schema) })

for (const [name, chat, embed] of [['openai-compatible', compatible(model), compatible.textEmbeddingModel?.(embedModel) ?? compatible.embeddingModel(embedModel)], ['ollama', ollama(model), ollama.textEmbeddingModel?.(embedModel) ?? ollama.embedding(embedModel)]]) {
  const ask = { model: chat, prompt: 'Say hello.', maxOutputTokens: maxTokens, maxRetries: 0 }

  await test(`${name}: text`, async () => {
    const r = await generateText(ask)
    assert.equal(typeof r.text, 'string')
    assert.ok(['stop', 'length'].includes(r.finishReason), r.finishReason)
    assert.ok(r.usage.inputTokens > 0)
  })

  await test(`${name}: streamed`, async () => {
    const r = streamText({ ...ask, onError: () => {} })
    let text = ''
    for await (const t of r.textStream) text += t
    assert.ok(['stop', 'length'].includes(await r.finishReason), await r.finishReason)
    assert.equal(await r.text, text)
    assert.ok((await r.usage).outputTokens > 0)
  })

  await test(`${name}: a tool`, async () => {
    const r = await generateText({ ...ask, maxOutputTokens: callTokens, tools: { weather }, toolChoice: 'required' })
    assert.equal(r.toolCalls[0].toolName, 'weather')
    checkArguments(r.toolCalls[0].input)
  })

  await test(`${name}: a tool, streamed`, async () => {
    const r = streamText({ ...ask, maxOutputTokens: callTokens, tools: { weather }, toolChoice: 'required', onError: () => {} })
    const calls = await r.toolCalls
    checkArguments(calls[0].input)
  })

  await test(`${name}: an object`, async () => {
    const r = await generateText({ ...ask, maxOutputTokens: callTokens, output })
    checkSchema(r.output)
  })

  await test(`${name}: embeddings`, async () => {
    if (embedModel === 'none') return 'no model for embeddings'
    const r = await embedMany({ model: embed, values: ['a', 'b'], maxRetries: 0 })
    assert.equal(r.embeddings.length, 2)
    assert.ok(r.embeddings[0].length > 0)
  })

  await test(`${name}: too long`, async () => {
    const e = await rejects(() => generateText({ ...ask, prompt: tooLong }))
    assert.equal(e.statusCode, 400)
    assert.ok((`${e.message} ${e.responseBody}`.match(/\d+/g) || []).length >= 2, e.responseBody)
  })
}

await test('ollama: a model that is not there', async () => {
  const e = await rejects(() => generateText({ model: ollama('missing'), prompt: 'x', maxRetries: 0 }))
  assert.equal(e.statusCode, 404)
})

done()
