// A stand-in for `thinkery up`, for work on the panel without building the binary.
//
//   npx vite build && node dev/mock.mjs [port]        then open http://127.0.0.1:8643
//
// It plays a rehearsal in half a minute and keeps nothing. Never shipped, and no test relies on it.
import { createServer } from 'node:http'
import { readFileSync, existsSync } from 'node:fs'
import { extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'

const port = Number(process.argv[2] ?? 8643)
const dist = fileURLToPath(new URL('../dist', import.meta.url))
const kinds = ['questions', 'distill', 'verify', 'dataset', 'train', 'evaluate', 'serve']
const totals = {
  questions: 4200,
  distill: 3400,
  verify: 3400,
  dataset: 2,
  train: 900,
  evaluate: 3000,
  serve: 1,
}
const csp =
  "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; font-src 'self'; worker-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

const world = { jobs: [], plan: null, runs: [], scores: [], datasets: [], fail: process.env.FAIL }
const counts = { questions: 0, traces: 0, verdicts: 0 }
let event = 0
const sessions = new Set()
let password = process.env.OPEN === '1' ? 'x' : null
const listeners = new Set()
const now = () => new Date().toISOString()

function tell(topic, data) {
  event += 1
  for (const res of listeners)
    res.write(`id: ${event}\nevent: ${topic}\ndata: ${JSON.stringify(data)}\n\n`)
}

function start() {
  const plan = { id: (world.plan?.id ?? 0) + 1, recipe: 'rehearsal', created_at: now() }
  world.plan = plan
  const old = world.jobs.length
  const jobs = kinds.map((kind, i) => ({
    id: old + i + 1,
    plan_id: plan.id,
    kind,
    state: 'queued',
    progress: { done: 0, total: 0, note: '' },
    pid: null,
    error: null,
    hint: null,
    config: { seed: 42, kind },
    summary: null,
    created_at: now(),
    started_at: null,
    finished_at: null,
    log: '',
  }))
  world.jobs.push(...jobs)
  jobs.forEach((job) => tell('job', job))
  run(jobs)
  return { plan_id: plan.id, jobs }
}

async function run(jobs) {
  for (const job of jobs) {
    if (job.state !== 'queued') continue
    Object.assign(job, { state: 'running', started_at: now(), pid: 4000 + job.id })
    const total = totals[job.kind]
    const ticks = job.kind === 'train' ? 60 : 12
    for (let i = 1; i <= ticks; i++) {
      await new Promise((resolve) => setTimeout(resolve, 150))
      if (job.state === 'stopping') break
      if (world.fail === job.kind && i === 6) {
        Object.assign(job, {
          state: 'failed',
          error: 'could not reach the teacher at `http://127.0.0.1:41234`: connection refused',
          hint: 'start it with `thinkery teacher`, or set `distill.endpoint`',
          finished_at: now(),
          pid: null,
        })
        tell('job', job)
        return
      }
      const done = Math.floor((total * i) / ticks)
      job.progress = { done, total, note: job.kind === 'train' ? `step ${done}` : `batch ${i}` }
      job.log += `${now()} INFO ${job.kind}: finished ${done} of ${total}\n`
      grow(job, i / ticks)
      tell('job', job)
    }
    const stopped = job.state === 'stopping'
    Object.assign(job, { state: stopped ? 'cancelled' : 'done', finished_at: now(), pid: null })
    if (!stopped) job.summary = { done: total, seconds: 1.8 }
    tell('job', job)
    if (stopped) {
      for (const other of jobs) {
        if (other.state === 'queued')
          Object.assign(other, { state: 'cancelled', finished_at: now() })
      }
      return
    }
  }
}

function grow(job, share) {
  if (job.kind === 'questions') counts.questions = Math.round(4200 * share)
  if (job.kind === 'distill') counts.traces = Math.round(3400 * share)
  if (job.kind === 'verify') counts.verdicts = Math.round(3400 * share)
  if (job.kind === 'dataset' && share === 1) {
    world.datasets = [
      ['verified', 2390],
      ['unverified', 3366],
    ].map(([arm, rows], i) => ({
      id: i + 1,
      name: 'rehearsal',
      arm,
      rows,
      hash: 'abc',
      path: `datasets/rehearsal-${arm}`,
      created_at: now(),
    }))
  }
  if (job.kind === 'train') train(share)
  if (job.kind === 'evaluate' && share === 1) world.scores = scores()
}

function train(share) {
  if (world.runs.length === 0 || (share < 0.1 && world.runs[0].steps.length > 100)) {
    world.runs = ['unverified', 'verified'].map((name, i) => ({
      id: i + 1,
      name,
      dataset_id: i + 1,
      state: 'running',
      steps_total: 450,
      steps: [],
      path: `runs/${name}-0badcafe`,
      created_at: now(),
      config: {},
      checkpoints: [],
    }))
  }
  const done = Math.floor(900 * share)
  world.runs.forEach((run, r) => {
    const upto = Math.min(450, Math.max(0, done - 450 * r))
    while (run.steps.length < upto) {
      const step = run.steps.length
      const floor = run.name === 'verified' ? 0.28 : 0.46
      const loss =
        floor +
        4.6 * Math.exp(-step / 60) +
        (Math.random() - 0.5) * 0.16 * (0.4 + Math.exp(-step / 90))
      run.steps.push({
        step,
        epoch: step / 150,
        loss: step === 260 && r === 0 ? null : loss,
        grad_norm: 1,
        learning_rate: 1e-3,
        tokens: 8192,
        trained_tokens: 4000,
        tokens_per_second: 21_000,
        mfu: null,
        seconds: 0.3,
        peak_memory_bytes: 4e8,
      })
      if (step % 150 === 149) run.checkpoints.push({ step: step + 1, path: 'x' })
    }
    if (upto === 450) run.state = 'done'
    const last = run.steps.at(-1)
    if (last) tell('step', { run_id: run.id, run: run.name, steps_total: 450, ...last })
  })
}

function scores() {
  const families = ['arithmetic', 'linear_equations', 'fractions', 'units', 'modular', 'sequences']
  const base = { untrained: 0.4, unverified: 52, verified: 81 }
  return Object.entries(base).flatMap(([model, mean]) => [
    {
      model,
      benchmark: 'rehearsal',
      mean,
      standard_error: model === 'untrained' ? 0.2 : 1.9,
      n: 240,
    },
    ...families.map((family, i) => ({
      model,
      benchmark: `rehearsal/${family}`,
      mean: Math.max(0, Math.min(100, mean + (i - 2.5) * 5)),
      standard_error: 4.1,
      n: 40,
    })),
  ])
}

function wire({ steps, config, checkpoints, ...run }) {
  const last = steps.at(-1)
  return {
    ...run,
    steps_done: steps.length,
    last_loss: last?.loss ?? null,
    tokens_per_second: last?.tokens_per_second ?? null,
  }
}

function status() {
  const jobs = world.jobs.filter((job) => job.plan_id === world.plan?.id)
  const stages = kinds.map((stage) => {
    const job = jobs.find((job) => job.kind === stage)
    return {
      stage,
      state: job?.state ?? 'idle',
      done: job?.progress.done ?? 0,
      total: job?.progress.total ?? 0,
      note: job?.progress.note ?? '',
      job_id: job?.id ?? null,
      job_ids: job ? [job.id] : [],
      error: job?.error ?? null,
      hint: job?.hint ?? null,
      counts: {},
      started_at: job?.started_at ?? null,
      finished_at: job?.finished_at ?? null,
    }
  })
  const states = stages.map((stage) => stage.state)
  const overall =
    ['failed', 'stopping', 'running', 'cancelled', 'queued'].find((state) =>
      states.includes(state),
    ) ?? 'done'
  const served = stages[6].state === 'done' ? models()[0] : null
  const v = counts.verdicts
  return {
    version: '0.1.0',
    data_dir: '/home/ada/.local/share/thinkery',
    plan: world.plan && { ...world.plan, state: overall },
    stages,
    counts: {
      questions: {
        total: counts.questions,
        train: counts.questions - Math.round(counts.questions / 15),
        held_out: Math.round(counts.questions / 15),
        domains: {},
      },
      traces: { total: counts.traces, truncated: Math.round(counts.traces * 0.02), cost_usd: 0 },
      verdicts: {
        total: v,
        correct: Math.round(v * 0.66),
        wrong: Math.round(v * 0.29),
        unchecked: Math.round(v * 0.03),
        unreadable: Math.round(v * 0.02),
      },
    },
    datasets: world.datasets,
    runs: world.runs.map(wire).reverse(),
    scores: world.scores,
    served,
    machine: { cores: 2, memory_bytes: 8 * 2 ** 30, gpus: [] },
    last_event_id: event,
  }
}

const models = () =>
  world.runs
    .filter((run) => run.state === 'done')
    .map((run) => ({
      name: run.name,
      run_id: run.id,
      served: run.name === 'verified',
      path: run.path + '/final',
      created_at: run.created_at,
    }))
    .reverse()

async function chat(req, res) {
  res.writeHead(200, { 'content-type': 'text/event-stream' })
  const thought =
    'The equation is 3x + 7 = 22.\n\nSubtract 7 from both sides: 3x = 15.\n\nDivide by 3: x = 5.\n\nCheck: 3 * 5 + 7 = 22. Right.'
  const solution =
    'Subtract $7$ from both sides, then divide by $3$:\n\n\\[3x = 22 - 7 = 15, \\qquad x = \\frac{15}{3}\\]\n\nThe answer is \\(\\boxed{5}\\). <img src=x onerror=alert(1)>'
  let gone = false
  res.on('close', () => (gone = true))
  const send = (delta, finish_reason = null, usage = undefined) =>
    res.write(
      `data: ${JSON.stringify({ id: 'a', model: 'verified', choices: [{ index: 0, delta, finish_reason }], usage })}\n\n`,
    )
  for (const [field, text] of [
    ['reasoning_content', thought],
    ['content', solution],
  ]) {
    for (const piece of text.match(/[^]{1,4}/g)) {
      if (gone) return
      send({ [field]: piece })
      await new Promise((resolve) => setTimeout(resolve, 15))
    }
  }
  send({}, 'stop', { prompt_tokens: 20, completion_tokens: 96, total_tokens: 116 })
  res.end('data: [DONE]\n\n')
}

function api(req, res, path, query) {
  const json = (body, code = 200) => {
    res.writeHead(code, { 'content-type': 'application/json' })
    res.end(JSON.stringify(body))
  }
  const no = (code, name, message, hint) => json({ error: { code: name, message, hint } }, code)
  const cookie = /mock=(\d+)/.exec(req.headers.cookie ?? '')?.[1]
  const loggedIn = process.env.OPEN === '1' || sessions.has(cookie)
  const session = (authenticated = loggedIn) =>
    json({ authenticated, setup_needed: password === null })
  const enter = () => {
    const id = String(Math.floor(Math.random() * 1e9))
    sessions.add(id)
    res.setHeader('set-cookie', `mock=${id}; HttpOnly; SameSite=Strict; Path=/`)
    return session(true)
  }
  const key = `${req.method} ${path.replace(/\/\d+/g, '/:id')}`
  const id = Number(/\/(\d+)/.exec(path)?.[1])
  const job = world.jobs.find((job) => job.id === id)
  if (key === 'GET /session') return session()
  if (key === 'POST /setup') {
    if (req.body.token !== 'token')
      return no(
        401,
        'refused',
        'this setup link is not valid any more',
        'print a new one with `thinkery admin setup-url`',
      )
    password = req.body.password
    return enter()
  }
  if (key === 'POST /login') {
    if (req.body.password !== password) return no(401, 'refused', 'the password is wrong')
    return enter()
  }
  if (key === 'POST /logout') {
    sessions.delete(cookie)
    return session(false)
  }
  if (!loggedIn) return no(401, 'login_needed', 'log in first')
  switch (key) {
    case 'GET /status':
      return json(status())
    case 'GET /jobs':
      return json({ items: [...world.jobs].reverse(), next: null })
    case 'GET /jobs/:id':
      return job ? json(job) : no(404, 'not_found', `there is no job \`${id}\``)
    case 'GET /jobs/:id/log': {
      const from = Number(query.get('offset') ?? 0)
      const over = ['done', 'failed', 'cancelled'].includes(job.state)
      return json({ text: job.log.slice(from), offset: from, next: job.log.length, complete: over })
    }
    case 'POST /jobs/:id/stop':
      job.state = job.state === 'queued' ? 'cancelled' : 'stopping'
      tell('job', job)
      return json(job)
    case 'POST /jobs/:id/retry':
      Object.assign(job, { state: 'queued', error: null, hint: null })
      world.fail = undefined
      run(world.jobs.filter((other) => other.plan_id === job.plan_id))
      return json(job)
    case 'POST /plans/:id/stop': {
      const all = world.jobs.filter((job) => job.plan_id === id)
      all.filter((job) => job.state === 'running').forEach((job) => (job.state = 'stopping'))
      all.filter((job) => job.state === 'queued').forEach((job) => (job.state = 'cancelled'))
      all.forEach((job) => tell('job', job))
      return json({ stopped: 1 })
    }
    case 'POST /recipes/rehearsal/run':
      return json(start())
    case 'GET /questions':
      return json({
        items: Array.from({ length: 60 }, (_, i) => ({
          id: i,
          family: ['linear', 'modular', 'sequences', 'units', 'fractions'][i % 5],
          problem: `Solve for x: ${(i % 7) + 2}x + ${i} = ${(i % 7) * 5 + 10 + i}.`,
          reference: '5',
        })),
        next: null,
      })
    case 'GET /runs':
      return json({ items: world.runs.map(wire).reverse(), next: null })
    case 'GET /runs/:id': {
      const run = world.runs.find((run) => run.id === id)
      return json({ ...wire(run), config: run.config, checkpoints: run.checkpoints })
    }
    case 'GET /runs/:id/steps': {
      const items = world.runs
        .find((run) => run.id === id)
        .steps.slice(Number(query.get('from') ?? 0))
      return json({ items, total: items.length, sampled: false })
    }
    case 'GET /models':
      return json({ items: models(), next: null })
    case 'POST /chat':
      return chat(req, res)
    case 'GET /events':
      res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
      res.write('retry: 2000\n\n')
      listeners.add(res)
      return res.on('close', () => listeners.delete(res))
    default:
      return no(404, 'not_found', `there is no \`${path}\``)
  }
}

const types = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
}

createServer(async (req, res) => {
  const url = new URL(req.url, 'http://x')
  let body = ''
  for await (const piece of req) body += piece
  req.body = body ? JSON.parse(body) : {}
  if (url.pathname.startsWith('/api/v1/'))
    return api(req, res, url.pathname.slice(7), url.searchParams)
  const asked = join(dist, normalize(url.pathname))
  if (url.pathname.startsWith('/assets/') && !existsSync(asked)) {
    res.writeHead(404)
    return res.end()
  }
  const file = extname(asked) && existsSync(asked) ? asked : join(dist, 'index.html')
  res.writeHead(200, {
    'content-type': types[extname(file)] ?? 'application/octet-stream',
    'content-security-policy': csp,
  })
  res.end(readFileSync(file))
}).listen(port, '127.0.0.1', () => {
  console.log(
    JSON.stringify({
      listening: `http://127.0.0.1:${port}`,
      setup: `http://127.0.0.1:${port}/setup#token=token`,
    }),
  )
})
