// node openapi_test.mjs VAULTYSCLAW ECHO_AGENT: see README.md.
import assert from 'node:assert/strict';
import {resolve} from 'node:path';
import {test, before, after} from 'node:test';
import {createConfig, lintFromString} from '@redocly/openapi-core';
import {CheckedClient} from './checked_client.mjs';
import {ending, journey} from './journey.mjs';
import {World} from './processes.mjs';

const [product, agent] = process.argv.slice(2).map((path) => resolve(path));
const world = new World(product, agent);
let document, client;

before(async () => {
  await world.startControlPlane();
  const answer = await fetch(`${world.url}/api/openapi.json`);
  document = await answer.json();
  client = new CheckedClient(document, world.url, world.key);
  await client.connect();
});
after(() => world.end());

// The method, the path and the operation, with references.
function operations() {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).filter(([method]) => method !== 'parameters').map(([method, operation]) => ({path, method, operation})));
}
const failed = (error) => {
  console.error(world.output().slice(-4000));
  throw error;
};

test('the document follows the rules of OpenAPI and the recommended ones', async () => {
  const config = await createConfig({extends: ['recommended']});
  const problems = await lintFromString({source: JSON.stringify(document), config});
  assert.deepEqual(problems.map(({ruleId, message, location}) => `${ruleId}: ${message} ${location?.[0]?.pointer}`), []);
});

test('examples are what their schemas allow', () => {
  let checked = 0;
  const look = (value, where) => {
    if (value === null || typeof value !== 'object') return;
    if ('schema' in value && 'example' in value) {
      client.validate(value.schema, value.example, `the example in ${where}`);
      ++checked;
    }
    for (const [name, inside] of Object.entries(value)) look(inside, `${where}/${name}`);
  };
  look(document.paths, 'paths');
  look(document.components, 'components');
  assert.ok(checked > 20, `${checked} examples`);
});

test('every operation answers as documented', async () => {
  await journey(client, world).catch(failed);
});

test('without a key there is 401, wherever one is needed', async () => {
  for (const {operation} of operations()) {
    const answer = await client.call(operation.operationId, {params: pathOf(operation.operationId), key: null});
    const open = operation.requestBody ? 400 : 200;
    assert.equal(answer.status, operation.security.length === 0 ? open : 401, operation.operationId);
  }
});

test('what is not documented is refused by name', async () => {
  for (const {operation} of operations().filter(({operation}) => operation.requestBody)) {
    const id = operation.operationId, params = pathOf(id);
    const unknown = await client.call(id, {params, body: {surprise: 1}});
    assert.equal(unknown.status, 400, id);
    assert.match(unknown.body.details.surprise, /not a member this route knows/);
    assert.equal((await client.call(id, {params, body: '{'})).status, 400, id);
    assert.equal((await client.call(id, {params, body: '[]'})).status, 400, id);
    const text = await client.call(id, {params, body: '{}', headers: {'Content-Type': 'text/plain'}});
    assert.equal(text.status, 415, id);
    const long = await client.call(id, {params, body: `{"a":"${'x'.repeat(5 << 20)}"}`});
    assert.equal(long.status, 413, id);
  }
});

test('errors that every operation may give are as documented', async () => {
  for (const {operation} of operations()) {
    const answer = await client.call(operation.operationId, {params: pathOf(operation.operationId), headers: {Host: 'evil.example'}});
    assert.equal(answer.status, 421, operation.operationId);
  }
});

test('no operation was left out', async () => {
  await ending(client, world).catch(failed);
  const missing = operations().map(({operation}) => operation.operationId).filter((id) =>
    ![...client.driven.get(id) ?? []].some((status) => status < 300));
  assert.deepEqual(missing, [], 'operations without a step in journey.mjs');
});

// Something for each variable segment of the operation's path: an agent and a workspace that are there, and else nothing
// that exists.
function pathOf(operationId) {
  const {path, parameters = []} = client.client.api.getOperation(operationId);
  const id = path.startsWith('/api/workspaces') ? 'default' : path.endsWith('/password') ? 'owner' : 'none';
  return Object.fromEntries(parameters.filter((parameter) => parameter.in === 'path').map(({name}) =>
    [name, name === 'did' ? world.did : name === 'id' ? id : 'none']));
}
