/** The real binary with a data folder of its own, on a free port. */

import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const binary = resolve(
  process.env.THINKERY_BIN ?? join(import.meta.dirname, '../../target/release/thinkery'),
)

/** How long the server may take to say where it listens. */
const START_MS = 60_000

export class Server {
  readonly data = mkdtempSync(join(tmpdir(), 'thinkery-panel-'))
  url = ''
  output = ''
  #child: ChildProcess | undefined

  /** Starts it; the second time on the port of the first. */
  async start() {
    const listen = this.url ? new URL(this.url).host : '127.0.0.1:0'
    const child = spawn(binary, ['up', '--json', '--data', this.data, '--listen', listen], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child = child
    this.url = await new Promise<string>((done, fail) => {
      const late = setTimeout(
        () => fail(new Error(`\`${binary} up\` did not say where it listens:\n${this.output}`)),
        START_MS,
      )
      const hear = (piece: Buffer) => {
        this.output += piece.toString()
        const found = /"listening":\s*"(http:[^"]+)"/.exec(this.output.slice(this.#mark))
        if (found?.[1]) {
          clearTimeout(late)
          done(found[1].replace(/\/$/, ''))
        }
      }
      child.stdout.on('data', hear)
      child.stderr.on('data', hear)
      child.on('error', (error) =>
        fail(new Error(`could not start \`${binary}\`: ${error.message}`)),
      )
      child.on('exit', (code) =>
        fail(new Error(`\`${binary} up\` ended with ${code}:\n${this.output}`)),
      )
    })
  }

  #mark = 0

  /** Ends it as a user would; says how. */
  async stop(signal: NodeJS.Signals = 'SIGTERM') {
    const child = this.#child
    if (!child || child.exitCode !== null) return
    const gone = new Promise((done) => child.once('exit', done))
    child.kill(signal)
    await gone
    this.#mark = this.output.length
    this.#child = undefined
  }

  async end() {
    await this.stop()
    rmSync(this.data, { recursive: true, force: true })
  }

  /** A fresh setup link, printed by the command line. */
  setupUrl(): string {
    const answer = spawnSync(binary, ['admin', 'setup-url', '--data', this.data], {
      encoding: 'utf8',
    })
    const found = /https?:\/\/\S+#token=\S+/.exec(answer.stdout + answer.stderr + this.output)
    if (!found) throw new Error(`no setup link in: ${answer.stdout}${answer.stderr}${this.output}`)
    const link = new URL(found[0])
    return `${this.url}${link.pathname}${link.hash}`
  }
}
