// A client made of the document, whose every answer is checked against the document.
import Ajv from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import {OpenAPIClientAxios} from 'openapi-client-axios';

// What every answer has (info.description).
const kCommonHeaders = {
  'cache-control': 'no-store', 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer',
  'content-security-policy': /^default-src 'none'/,
};

// Cuts a stream into events; `id` and `data` of each.
export function eventsOf(text) {
  return text.split('\n\n').filter((block) => block && !block.startsWith(':')).map((block) => {
    const event = {};
    for (const line of block.split('\n')) {
      const [, name, value] = /^(\w+): (.*)$/.exec(line) ?? [];
      if (name) event[name] = value;
    }
    return event;
  });
}

export class CheckedClient {
  driven = new Map();  // by operationId: the statuses that were seen

  constructor(document, url, key) {
    this.document = document;
    this.url = url;
    this.key = key;
    // Keywords of OpenAPI and ours say nothing about what is valid.
    this.ajv = new Ajv({strict: true, strictTypes: false, strictRequired: false, allErrors: true});
    addFormats(this.ajv);
    this.ajv.addVocabulary(['x-vaultysclaw-permission', 'example', 'discriminator', 'components', 'paths', 'info', 'openapi',
      'servers', 'tags']);
    this.ajv.addSchema({$id: 'document', components: document.components});
  }

  async connect() {
    const api = new OpenAPIClientAxios({
      definition: this.document,
      axiosConfigDefaults: {baseURL: this.url, validateStatus: () => true, responseType: 'text', transformResponse: (x) => x,
        proxy: false, maxRedirects: 0},
    });
    this.client = await api.init();
    this.operations = api.getOperations();
  }

  // `arguments_`: {params, body, headers, key}. Returns {status, body, headers, events}.
  async call(operationId, {params = {}, body = undefined, headers = {}, key = this.key} = {}) {
    const operation = this.client.api.getOperation(operationId);
    if (!operation) throw new Error(`the document has no operation ${operationId}`);
    const parameters = Object.entries(params).map(([name, value]) => {
      const found = operation.parameters?.find((parameter) => parameter.name === name);
      if (!found) throw new Error(`${operationId} has no parameter ${name}`);
      return {name, value, in: found.in};
    });
    const all = {...headers};
    if (key) all.Authorization = `Bearer ${key}`;
    // The client sends a string as it is: a body of any bytes can be tried.
    if (body !== undefined) all['Content-Type'] ??= 'application/json';
    const text = typeof body === 'string' || body === undefined ? body : JSON.stringify(body);
    const answer = await this.client[operationId](parameters, text, {headers: all, transformRequest: (data) => data});
    return this.#checked(operationId, answer);
  }

  #checked(operationId, answer) {
    const where = `${operationId} answered ${answer.status}`;
    const seen = this.driven.get(operationId) ?? new Set();
    this.driven.set(operationId, seen.add(answer.status));
    const operation = this.#raw(operationId);
    const documented = operation.responses[String(answer.status)];
    if (!documented) throw new Error(`${where}, which is not documented: ${answer.data}`);
    const response = this.#resolved(documented);
    for (const [name, wanted] of Object.entries(kCommonHeaders)) {
      const value = answer.headers[name];
      // What is refused before it reached the API is plain text, and has none of them.
      if (answer.status === 413 && value === undefined) continue;
      if (!(wanted instanceof RegExp ? wanted.test(value) : wanted === value)) throw new Error(`${where} with ${name}: ${value}`);
    }
    for (const [name, reference] of Object.entries(response.headers ?? {})) {
      const value = answer.headers[name.toLowerCase()];
      // Only waiting for a time makes sense of Retry-After; a 429 may also be for want of room.
      if (value === undefined && name === 'Retry-After') continue;
      this.validate(this.#resolved(reference).schema, value, `${where}, header ${name}`);
    }
    if (!response.content) {
      if (answer.data) throw new Error(`${where} with a body that is not documented: ${answer.data}`);
      return {status: answer.status, headers: answer.headers};
    }
    const type = (answer.headers['content-type'] ?? '').split(';')[0];
    const media = response.content[type];
    if (!media) throw new Error(`${where} as ${type}, which is not documented`);
    const result = {status: answer.status, headers: answer.headers, body: answer.data};
    if (type === 'application/json') result.body = JSON.parse(answer.data);
    this.validate(media.schema, result.body, where);
    if (type === 'text/event-stream') {
      result.events = eventsOf(answer.data);
      if (result.events.at(-1).data !== '[DONE]') throw new Error(`${where} without an end: ${answer.data}`);
      for (const {data} of result.events.slice(0, -1)) this.validate(media.schema.contentSchema, JSON.parse(data), where);
    }
    return result;
  }

  // The operation as the document has it, with its references.
  #raw(operationId) {
    for (const item of Object.values(this.document.paths)) {
      for (const operation of Object.values(item)) if (operation.operationId === operationId) return operation;
    }
  }

  #resolved(value) {
    if (!value.$ref) return value;
    return value.$ref.slice(2).split('/').reduce((inside, name) => inside[name], this.document);
  }

  validate(schema, value, where) {
    const absolute = JSON.parse(JSON.stringify(schema).replaceAll('"$ref":"#/', '"$ref":"document#/'));
    const valid = this.ajv.compile(absolute);
    if (!valid(value)) {
      throw new Error(`${where} with what its schema does not allow:\n${JSON.stringify(value, null, 1)}\n${
        this.ajv.errorsText(valid.errors, {separator: '\n'})}`);
    }
  }
}
