// Runs every client against one address, one after the other. Usage: node all.mjs [ADDRESS]
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

let failed = 0
for (const name of ['raw', 'openai', 'ollama', 'anthropic', 'ai', 'langchain']) {
  console.log(`# ${name}`)
  const file = fileURLToPath(new URL(`${name}.mjs`, import.meta.url))
  const r = spawnSync(process.execPath, [file, ...process.argv.slice(2)], { stdio: 'inherit', timeout: 600000 })
  if (r.status !== 0) failed++
}
process.exit(failed ? 1 : 0)
