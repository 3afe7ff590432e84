/** Whether this browser is logged in. Every tab hears when another logs out. */

import { client, failure, onLoggedOut, take, type Failure, type SessionInfo } from './api'

class Session {
  state = $state<'unknown' | 'setup' | 'out' | 'in'>('unknown')
  failure = $state<Failure>()
  #channel = new BroadcastChannel('thinkery-session')

  constructor() {
    onLoggedOut.add(() => {
      if (this.state === 'in') this.state = 'out'
    })
    this.#channel.onmessage = () => void this.check()
  }

  async check() {
    try {
      this.#take(await take(client.GET('/session')))
      this.failure = undefined
    } catch (thrown) {
      this.failure = failure(thrown)
    }
  }

  async setup(token: string, password: string) {
    this.#take(await take(client.POST('/setup', { body: { token, password } })))
    this.#channel.postMessage('changed')
  }

  async login(password: string) {
    this.#take(await take(client.POST('/login', { body: { password } })))
    this.#channel.postMessage('changed')
  }

  async logout() {
    this.#take(await take(client.POST('/logout')))
    this.#channel.postMessage('changed')
  }

  #take(info: SessionInfo) {
    this.state = info.authenticated ? 'in' : info.setup_needed ? 'setup' : 'out'
  }
}

export const session = new Session()
