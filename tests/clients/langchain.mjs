// @langchain/openai and @langchain/ollama.
import { ChatOllama, OllamaEmbeddings } from '@langchain/ollama'
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai'
import { assert, base, callTokens, checkArguments, checkSchema, done, embedModel, key, maxTokens, model, rejects, schema, test, tooLong, tools } from './tap.mjs'

const configuration = { baseURL: `${base}/v1` }
const openai = (more = {}) => new ChatOpenAI({ model, apiKey: key, maxTokens, maxRetries: 0, configuration, ...more })
const ollama = (more = {}) => new ChatOllama({ model, baseUrl: base, numPredict: maxTokens, maxRetries: 0, ...more })

for (const [name, make, most] of [['openai', openai, 'maxTokens'], ['ollama', ollama, 'numPredict']]) {
  await test(`${name}: invoke`, async () => {
    const r = await make().invoke('Say hello.')
    assert.equal(typeof r.content, 'string')
    assert.ok(r.usage_metadata.input_tokens > 0)
  })

  await test(`${name}: stream`, async () => {
    let n = 0
    for await (const c of await make({ streamUsage: true }).stream('Say hello.')) n += typeof c.content === 'string'
    assert.ok(n > 0)
  })

  await test(`${name}: a tool`, async () => {
    const r = await make({ [most]: callTokens }).bindTools([tools[0]], { tool_choice: 'required' }).invoke('Weather?')
    // ChatOllama sends no tool_choice: whether there is a call is the model's choice, and a model of random weights may make one.
    if (name === 'openai') assert.equal(r.tool_calls.length > 0, true)
    // Calls nobody asked for can be many, and the limit then cuts the last one.
    const cut = r.response_metadata.done_reason === 'length'
    for (const [i, call] of r.tool_calls.entries()) {
      assert.equal(call.name, 'weather')
      if (!cut || i + 1 < r.tool_calls.length) checkArguments(call.args)
    }
    if (name === 'ollama') return 'this package sends no tool_choice'
  })

  await test(`${name}: structured output`, async () => {
    const r = await make({ [most]: callTokens }).withStructuredOutput({ title: 'c', ...schema }, { method: 'jsonSchema' }).invoke('A colour?')
    checkSchema(r)
  })

  await test(`${name}: too long`, async () => {
    const e = await rejects(() => make().invoke(tooLong))
    assert.ok((String(e.message).match(/\d+/g) || []).length >= 2, e.message)
  })
}

await test('openai: embeddings', async () => {
  if (embedModel === 'none') return 'no model for embeddings'
  const r = await new OpenAIEmbeddings({ model: embedModel, apiKey: key, configuration, maxRetries: 0 }).embedDocuments(['a', 'b'])
  assert.equal(r.length, 2)
  assert.ok(r[0].length > 0)
})

await test('ollama: embeddings', async () => {
  if (embedModel === 'none') return 'no model for embeddings'
  const r = await new OllamaEmbeddings({ model: embedModel, baseUrl: base, maxRetries: 0 }).embedDocuments(['a', 'b'])
  assert.equal(r.length, 2)
  assert.ok(r[0].length > 0)
})

done()
