// One call after the other, until every operation has answered as it should: what one step learns, the next one uses.
// A new route needs a step here.
import assert from 'node:assert/strict';
import {eventually} from './processes.mjs';

const kAction = 'text_generation';  // what the echo agent asks for

// Calls, and wants this status.
const wanting = (client) => async (status, operationId, options) => {
  const answer = await client.call(operationId, options);
  assert.equal(answer.status, status, `${operationId}: ${JSON.stringify(answer.body)}`);
  return answer;
};

export async function journey(client, world) {
  const call = wanting(client);
  await system(call);
  const did = await registrations(call, client, world);
  world.did = did;
  await agents(call, did);
  await policies(call, did);
  await workspaces(call, did);
  await intents(call, did);
  await chats(call, client, did);
  await people(call);
  await audit(call);
  await grants(call, did);
  await peerGrants(call, client, world, did);
}

async function system(call) {
  assert.equal((await call(200, 'getHealth', {key: null})).body.status, 'ok');
  await call(200, 'getMetrics', {key: null});
  await call(200, 'getOpenApi', {key: null});
  await call(200, 'getDocs', {key: null});
  await call(200, 'listRoutes');
  assert.equal((await call(200, 'getMe')).body.user.role, 'owner');
}

async function pendingRegistration(client, name) {
  return eventually(`the registration of ${name}`, async () => {
    const {body} = await client.call('listRegistrations', {params: {status: 'pending'}});
    return body.items.find((item) => item.name === name);
  });
}

// Lets one agent in and keeps another one out. The DID of the first.
async function registrations(call, client, world) {
  const unwanted = world.startAgent('unwanted');
  const refused = await pendingRegistration(client, 'unwanted');
  await call(200, 'rejectRegistration', {params: {id: refused.id}, body: {reason: 'nobody knows it'}});
  await world.stop(unwanted);
  world.echo = world.startAgent('echo-agent');
  const {id, did} = await pendingRegistration(client, 'echo-agent');
  const approved = await call(200, 'approveRegistration', {
    params: {id}, body: {resourceLimits: {maxRequestsPerHour: 1000}, policyExpiresAt: '2099-01-01T00:00:00Z'},
  });
  assert.equal(approved.body.did, did);
  await call(409, 'approveRegistration', {params: {id}});
  await call(404, 'rejectRegistration', {params: {id: 'none'}});
  assert.equal((await call(200, 'listRegistrations', {params: {limit: 1, offset: 1}})).body.pagination.total, 2);
  return did;
}

async function agents(call, did) {
  const {body} = await call(200, 'listAgents', {params: {status: 'connected', search: 'ECHO', name: 'echo-agent'}});
  assert.deepEqual(body.items.map((agent) => agent.did), [did]);
  await call(200, 'getAgent', {params: {did}});
  await call(404, 'getAgent', {params: {did: 'did:vaultys:0000000000000000000000000000000000000000'}});
  const changed = await call(200, 'changeAgent', {
    params: {did}, body: {policyId: 'p-1', resourceLimits: {maxRequestsPerHour: null, maxTokensPerDay: 100000}, reason: 'less'},
  });
  assert.deepEqual(changed.body.resourceLimits, {maxTokensPerDay: 100000});
  await call(412, 'changeAgent', {params: {did, 'If-Match': '"0123456789abcdef"'}, body: {policyId: 'p-2'}});
  await call(200, 'changeAgent', {params: {did, 'If-Match': changed.headers.etag}, body: {policyId: 'p-2'}});
  assert.equal((await call(200, 'pauseAgent', {params: {did}, body: {reason: 'a break'}})).body.paused, 'a break');
  await call(403, 'runOnAgent', {params: {did}, body: {action: kAction}});
  assert.equal((await call(200, 'resumeAgent', {params: {did}})).body.paused, null);
  await call(200, 'resetAgentPin', {params: {did}, body: {}});
}

async function policies(call, did) {
  const {body: {policy, sentTo}, headers} = await call(201, 'addPolicy', {
    body: {name: 'weekend', did, capabilities: [kAction], resourceLimits: {maxTokensPerDay: 10}, reason: 'it is Saturday'},
  });
  assert.deepEqual(sentTo, [did]);
  await call(200, 'getPolicy', {params: {id: policy.id}});
  const {body: narrowed} = await call(200, 'getAgent', {params: {did}});
  assert.deepEqual([narrowed.policies, narrowed.resourceLimits], [[policy.id], {maxTokensPerDay: 10}]);
  const {body: wide} = await call(201, 'addPolicy', {body: {workspace: 'default', expiresAt: '2099-01-01T00:00:00Z'}});
  const {body: all} = await call(200, 'listPolicies', {params: {status: 'live', did}});
  assert.deepEqual(all.items.map(({id}) => id), [policy.id]);
  await call(400, 'addPolicy', {body: {capabilities: []}});
  await call(404, 'addPolicy', {body: {workspace: 'nowhere', capabilities: []}});
  await call(412, 'revokePolicy', {params: {id: policy.id, 'If-Match': '"7"'}});
  await call(200, 'revokePolicy', {params: {id: policy.id, 'If-Match': headers.etag}});
  await call(200, 'revokePolicy', {params: {id: wide.policy.id}});
  await call(404, 'revokePolicy', {params: {id: 'none'}});
  await call(404, 'getPolicy', {params: {id: 'none'}});
}

async function workspaces(call, did) {
  const {body: research, headers} = await call(201, 'addWorkspace', {body: {name: 'research'}});
  await call(409, 'addWorkspace', {body: {name: 'research'}});
  const {body: narrow} = await call(201, 'addPolicy', {body: {workspace: 'research', resourceLimits: {maxTokensPerDay: 7}}});
  assert.deepEqual((await call(200, 'addPlaced', {params: {id: 'research', did}})).body.sentTo, [did]);
  assert.equal((await call(200, 'listPlaced', {params: {id: 'research'}})).body.items[0].resourceLimits.maxTokensPerDay, 7);
  assert.deepEqual((await call(200, 'removePlaced', {params: {id: research.id, did}})).body.sentTo, [did]);
  await call(404, 'removePlaced', {params: {id: 'research', did}});
  // Somebody who is in no workspace, and then in one, sees what belongs to it.
  const {body: eve} = await call(201, 'addUser', {body: {name: 'eve', workspaces: []}});
  const {body: {key}} = await call(201, 'createKey', {body: {name: 'k', scopes: ['read', 'run'], user: 'eve'}});
  await call(404, 'getAgent', {params: {did}, key});
  await call(404, 'getWorkspace', {params: {id: 'default'}, key});
  await call(204, 'addMember', {params: {id: 'default', user: 'eve'}});
  await call(200, 'getAgent', {params: {did}, key});
  assert.deepEqual((await call(200, 'listWorkspaces', {key})).body.items.map(({name}) => name), ['default']);
  const {body: members} = await call(200, 'listMembers', {params: {id: 'default', limit: 10}});
  assert.deepEqual(members.items.map(({name}) => name), ['eve', 'owner']);
  await call(204, 'removeMember', {params: {id: 'default', user: eve.id}});
  await call(404, 'removeMember', {params: {id: 'default', user: 'eve'}});
  await call(404, 'addMember', {params: {id: 'default', user: 'nobody'}});
  await call(200, 'getWorkspace', {params: {id: 'research'}});
  await call(200, 'renameWorkspace', {params: {id: research.id, 'If-Match': headers.etag}, body: {name: 'laboratory'}});
  await call(412, 'renameWorkspace', {params: {id: research.id, 'If-Match': headers.etag}, body: {name: 'l'}});
  await call(409, 'removeWorkspace', {params: {id: 'default'}});
  await call(200, 'removeWorkspace', {params: {id: 'laboratory'}});
  assert.equal((await call(200, 'getPolicy', {params: {id: narrow.policy.id}})).body.status, 'revoked');
  await call(204, 'removeUser', {params: {id: eve.id}});
}

async function intents(call, did) {
  const ran = await call(200, 'runOnAgent', {
    params: {did, 'Idempotency-Key': 'once', traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'},
    body: {action: kAction, params: {prompt: 'hello'}, timeoutMs: 30000},
  });
  assert.deepEqual(ran.body.output, {echo: {action: kAction, params: {prompt: 'hello'}}});
  const again = await call(200, 'runOnAgent', {
    params: {did}, body: {action: kAction, params: {prompt: 'hello'}, idempotencyKey: 'once'},
  });
  assert.equal(again.body.intentId, ran.body.intentId);
  assert.equal(again.body.replayed, true);
  await call(409, 'runOnAgent', {params: {did}, body: {action: 'other', idempotencyKey: 'once'}});
  const refused = await call(200, 'runOnAgent', {params: {did}, body: {action: 'not_granted'}});
  assert.equal(refused.body.status, 'failed');
  const sent = await call(202, 'sendIntent', {body: {did, action: kAction, params: {n: 1}}});
  await call(202, 'broadcastIntent', {body: {action: kAction, params: {}}});
  await eventually('the end of an intent', async () => {
    const {body} = await call(200, 'getIntent', {params: {id: sent.body.intentId}});
    return body.status === 'success' && body.resultSignatureValid;
  });
  await call(404, 'getIntent', {params: {id: 'none'}});
  await call(409, 'cancelIntent', {params: {id: sent.body.intentId}});
  await call(404, 'cancelIntent', {params: {id: 'none'}});
  const {body} = await call(200, 'listIntents', {params: {did, status: 'success', limit: 2}});
  assert.equal(body.items.length, 2);
}

async function chats(call, client, did) {
  const answer = await call(200, 'chat', {body: {did, message: 'hello'}});
  assert.deepEqual(answer.events.slice(1).map(({id}) => id), ['0', '1']);
  assert.equal(JSON.parse(answer.events[1].data).chunk, 'You said: "hello"');
  const conversationId = 'a conversation?';
  const messages = [{role: 'user', content: 'one'}, {role: 'assistant', content: 'two'}, {role: 'user', content: 'three'}];
  await call(200, 'chat', {body: {did, conversationId, messages, resumable: true}});
  const rest = await call(200, 'resumeChat', {params: {did, conversationId, 'Last-Event-ID': '0'}});
  assert.deepEqual(rest.events.at(-1), {id: '1', data: '[DONE]'});
  await call(410, 'resumeChat', {params: {did, conversationId, fromSeq: 2}});
  await call(204, 'cancelChat', {params: {did, conversationId}});
  await call(404, 'resumeChat', {params: {did, conversationId}});
  await call(404, 'cancelChat', {params: {did, conversationId}});
}

async function people(call) {
  const {body: ann, headers} = await call(201, 'addUser', {body: {name: 'ann'}});
  await call(409, 'addUser', {body: {name: 'ann', role: 'admin'}});
  assert.equal((await call(200, 'listUsers', {params: {name: 'ann'}})).body.items.length, 1);
  await call(200, 'getUser', {params: {id: 'ann'}});
  await call(404, 'getUser', {params: {id: 'nobody'}});
  const changed = await call(200, 'changeUser', {params: {id: ann.id, 'If-Match': headers.etag}, body: {role: 'admin'}});
  await call(412, 'changeUser', {params: {id: ann.id, 'If-Match': headers.etag}, body: {role: 'member'}});
  const key = (await call(201, 'createKey', {
    body: {name: 'report', scopes: ['read'], user: 'ann', expiresAt: '2099-01-01T00:00:00Z'},
  })).body;
  assert.deepEqual((await call(200, 'getMe', {key: key.key})).body.scopes, ['read']);
  await call(403, 'addUser', {key: key.key, body: {name: 'bob'}});
  await call(403, 'createKey', {key: key.key, body: {name: 'more', scopes: ['admin']}});
  await call(404, 'createKey', {body: {name: 'k', scopes: ['read'], user: 'nobody'}});
  assert.equal((await call(200, 'listKeys', {params: {user: ann.id}})).body.items.length, 1);
  await call(404, 'revokeKey', {params: {id: 'none'}});
  await call(204, 'revokeKey', {params: {id: key.id, user: 'ann'}});
  await call(401, 'getMe', {key: key.key});
  await sessions(call, ann.id);
  await call(412, 'removeUser', {params: {id: ann.id, 'If-Match': headers.etag}});
  const now = await call(200, 'getUser', {params: {id: ann.id}});  // a password is a change
  assert.notEqual(now.headers.etag, changed.headers.etag);
  await call(204, 'removeUser', {params: {id: ann.id, 'If-Match': now.headers.etag}});
  await call(404, 'removeUser', {params: {id: ann.id}});
}

// As a browser would: the cookie says who asks, and the token that a page of ours does.
async function sessions(call, id) {
  const password = 'violet harbour seventy kites';
  await call(401, 'logIn', {key: null, body: {user: 'ann', password}});
  await call(204, 'setPassword', {params: {id}, body: {password}});
  await call(404, 'setPassword', {params: {id: 'nobody'}, body: {password}});
  const {body: begun, headers} = await call(200, 'logIn', {key: null, body: {user: 'ann', password}});
  const Cookie = headers['set-cookie'][0].split(';')[0];
  const token = {'X-CSRF-Token': begun.csrfToken};
  assert.deepEqual((await call(200, 'getSession', {key: null, headers: {Cookie}})).body, begun);
  assert.equal((await call(200, 'getMe', {key: null, headers: {Cookie}})).body.keyId, null);
  await call(403, 'setPassword', {key: null, headers: {Cookie}, params: {id}, body: {password, currentPassword: password}});
  await call(403, 'logOut', {key: null, headers: {Cookie}});
  await call(403, 'logOut', {key: null, headers: {Cookie, Origin: 'https://evil.example'}, params: token});
  await call(204, 'logOut', {key: null, headers: {Cookie}, params: token});
  await call(401, 'getSession', {key: null, headers: {Cookie}});
  await call(404, 'getSession');
  await call(404, 'logOut');
}

// A member asks for what was granted, and no longer.
async function grants(call, did) {
  const {body: cid} = await call(201, 'addUser', {body: {name: 'cid'}});
  const {body: key} = await call(201, 'createKey', {body: {name: 'k', scopes: ['read', 'run'], user: 'cid'}});
  const run = {key: key.key, params: {did}, body: {action: kAction}};
  await call(403, 'runOnAgent', run);
  const {body, headers} = await call(201, 'addGrant', {body: {user: 'cid', did, capabilities: [kAction]}});
  assert.deepEqual(body.sentTo, [did]);
  const id = body.grant.id;
  assert.equal((await call(200, 'runOnAgent', run)).body.status, 'success');
  await call(404, 'addGrant', {body: {user: 'nobody', capabilities: [kAction]}});
  assert.equal((await call(200, 'listGrants', {key: key.key, params: {did, status: 'live'}})).body.items.length, 1);
  await call(404, 'listGrants', {params: {user: 'nobody'}});
  await call(200, 'getGrant', {params: {id}});
  await call(404, 'getGrant', {params: {id: 'none'}});
  await call(412, 'revokeGrant', {params: {id, 'If-Match': '"7"'}});
  await call(200, 'revokeGrant', {params: {id, 'If-Match': headers.etag}});
  await call(404, 'revokeGrant', {params: {id: 'none'}});
  await call(403, 'runOnAgent', run);
  const {body: all} = await call(201, 'addGrantOfUser', {
    params: {id: cid.did}, body: {capabilities: [kAction], expiresAt: '2099-01-01T00:00:00Z'},
  });
  assert.equal(all.grant.did, '*');
  await call(404, 'addGrantOfUser', {params: {id: 'nobody'}, body: {capabilities: [kAction]}});
  assert.equal((await call(200, 'listGrantsOfUser', {params: {id: 'cid'}})).body.grants.length, 2);
  await call(404, 'listGrantsOfUser', {params: {id: 'nobody'}});
  await call(412, 'revokeGrantOfUser', {params: {id: 'cid', grant: all.grant.id, 'If-Match': '"7"'}});
  await call(404, 'revokeGrantOfUser', {params: {id: 'cid', grant: 'none'}});
  await call(200, 'revokeGrantOfUser', {params: {id: 'cid', grant: all.grant.id}});
  await call(204, 'removeUser', {params: {id: cid.id}});
}

async function peerGrants(call, client, world, did) {
  world.peer = world.startAgent('peer-agent');
  const {id, did: target} = await pendingRegistration(client, 'peer-agent');
  await call(200, 'approveRegistration', {params: {id}});
  const {body, headers} = await call(201, 'addPeerGrant', {
    body: {source: did, target, capabilities: [kAction], skillDescription: 'echoes', expiresAt: '2099-01-01T00:00:00Z'},
  });
  assert.deepEqual(body.sentTo, [did]);
  const grant = body.peerGrant.id;
  await call(404, 'addPeerGrant', {
    body: {source: did, target: 'did:vaultys:0000000000000000000000000000000000000000', capabilities: [kAction]},
  });
  assert.equal((await call(200, 'listPeerGrants', {params: {source: did, target, status: 'live'}})).body.items.length, 1);
  await call(200, 'getPeerGrant', {params: {id: grant}});
  await call(404, 'getPeerGrant', {params: {id: 'none'}});
  await call(412, 'revokePeerGrant', {params: {id: grant, 'If-Match': '"7"'}});
  await call(200, 'revokePeerGrant', {params: {id: grant, 'If-Match': headers.etag}});
  await call(404, 'revokePeerGrant', {params: {id: 'none'}});
  await world.stop(world.peer);
  await call(204, 'deleteAgent', {params: {did: target}});
}

async function audit(call) {
  assert.equal((await call(200, 'verifyAudit')).body.valid, true);
  const {body: all} = await call(200, 'listAudit', {params: {limit: 500}});
  assert.equal(all.pagination.hasMore, false);
  const numbers = all.items.map((row) => row.seq);
  // By number, in both directions, it is the same.
  const walk = async (name, next, from) => {
    const found = [];
    for (;;) {
      const {body} = await call(200, 'listAudit', {params: {limit: 7, [name]: from}});
      found.push(...body.items.map((row) => row.seq));
      if (!body.pagination.hasMore) return found;
      from = body.pagination[next];
    }
  };
  assert.deepEqual(await walk('before', 'nextBefore', numbers[0] + 1), numbers);
  assert.deepEqual((await walk('after', 'nextAfter', 0)).reverse(), numbers);
  const {body: keys} = await call(200, 'listAudit', {params: {action: 'key.*', actor: 'user:owner'}});
  assert.deepEqual(keys.items.map((row) => row.action), ['key.revoke', 'key.create', 'key.create']);
  const since = keys.items[1].at;
  const {body: later} = await call(200, 'listAudit', {params: {since, limit: 500}});
  assert.deepEqual(later.items.map((row) => row.seq), all.items.filter((row) => row.at >= since).map((row) => row.seq));
  const {body: earlier} = await call(200, 'listAudit', {params: {until: since, limit: 500}});
  assert.equal(earlier.pagination.total + later.pagination.total, all.pagination.total);
}

// Without the agent, which is removed at last.
export async function ending(client, world) {
  const call = wanting(client), {did} = world;
  await world.stop(world.echo);
  await eventually('the end of the connection', async () => {
    const {body} = await client.call('getAgent', {params: {did}});
    return body.status === 'offline';
  });
  await call(503, 'runOnAgent', {params: {did}, body: {action: kAction}});
  await call(503, 'sendIntent', {body: {did, action: kAction}});
  await call(503, 'chat', {body: {did, message: 'hello'}});
  const {body} = await call(202, 'sendIntent', {body: {did, action: kAction, ttlSeconds: 3600}});
  assert.equal(body.status, 'queued');
  await call(202, 'cancelIntent', {params: {id: body.intentId}});
  await call(504, 'runOnAgent', {params: {did}, body: {action: kAction, ttlSeconds: 1}});
  await call(204, 'deleteAgent', {params: {did}});
  await call(404, 'deleteAgent', {params: {did}});
}
