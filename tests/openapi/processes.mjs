// The control plane and an agent as processes of their own, on free ports of this machine.
import {spawn} from 'node:child_process';
import {mkdtempSync, existsSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {setTimeout as pause} from 'node:timers/promises';

const kPatience = 60_000;

// Polls until `condition` gives something.
export async function eventually(what, condition) {
  const deadline = Date.now() + kPatience;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await pause(20);
  }
}

export class World {
  #children = [];
  #output = [];

  constructor(product, agent) {
    this.product = product;
    this.agent = agent;
    this.directory = mkdtempSync(join(tmpdir(), 'vc-openapi-'));
  }

  #start(program, args, environment = {}) {
    const child = spawn(program, args, {env: {...process.env, ...environment}, cwd: this.directory});
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => this.#output.push(data));
    child.ended = new Promise((resolve) => child.on('close', resolve).on('error', resolve));
    this.#children.push(child);
    return child;
  }

  async startControlPlane() {
    const ready = join(this.directory, 'ready.json');
    const child = this.#start(this.product, [
      'control-plane', '--data', join(this.directory, 'control-plane'), '--http-port', '0', '--ws-port', '0',
      '--ready-file', ready,
    ]);
    await eventually('the control plane', () => existsSync(ready) || child.exitCode !== null);
    if (!existsSync(ready)) throw new Error('the control plane has ended');
    const {httpPort, wsPort, tokenFile} = JSON.parse(readFileSync(ready));
    this.url = `http://127.0.0.1:${httpPort}`;
    this.wsUrl = `ws://127.0.0.1:${wsPort}`;
    this.key = readFileSync(tokenFile, 'utf8').trim();
  }

  // Runs until stopAgent().
  startAgent(name) {
    return this.#start(this.agent, [], {
      AGENT_NAME: name, CONTROL_PLANE_URL: this.url, CONTROL_PLANE_WS_URL: this.wsUrl,
      VAULTYS_ID_PATH: join(this.directory, `${name}.id`),
    });
  }

  async stop(child) {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await child.ended;
    clearTimeout(timer);
  }

  async end() {
    await Promise.all(this.#children.map((child) => this.stop(child)));
    rmSync(this.directory, {recursive: true, force: true});
  }

  output() {
    return Buffer.concat(this.#output).toString();
  }
}
