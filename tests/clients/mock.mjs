// A server without a model: each request is answered by the program `answer` (tests/clients/answer.c), that is by the dialects
// and a scripted worker. Usage: node mock.mjs PROGRAM PORT (0: any)
import { spawn } from 'node:child_process'
import { createServer } from 'node:http'

const [program, port] = process.argv.slice(2)

const server = createServer((req, res) => {
  const child = spawn(program, [req.method, req.url], { stdio: ['pipe', 'pipe', 'inherit'] })
  const parts = []
  req.pipe(child.stdin)
  child.stdin.on('error', () => {})
  child.stdout.on('data', (d) => parts.push(d))
  child.on('close', () => {
    const all = Buffer.concat(parts)
    const end = all.indexOf(10)
    const [status, type] = all.subarray(0, end).toString().split(' ')
    res.writeHead(Number(status) || 500, { 'content-type': type || 'text/plain', 'x-should-retry': 'false' })
    // In small pieces, as a network would.
    const body = all.subarray(end + 1)
    for (let i = 0; i < body.length; i += 777) res.write(body.subarray(i, i + 777))
    res.end()
  })
})
server.listen(Number(port), '127.0.0.1', () => console.error(`http://127.0.0.1:${server.address().port}`))
