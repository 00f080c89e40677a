// An agent for the device gateway in Node, without a dependency: docs/protocol.md is all it needs.
//   GATEWAY_URL=https://tunnel.example.com GATEWAY_UUID=... GATEWAY_KEY=... [GATEWAY_TARGET=http://127.0.0.1:80] node agent.mjs
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';

const { GATEWAY_URL, GATEWAY_UUID, GATEWAY_KEY, GATEWAY_TARGET = 'http://127.0.0.1:80', GATEWAY_HOST = new URL(GATEWAY_URL).host } = process.env;
const hops = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade', 'te', 'http2-settings', 'proxy-status']);
const target = new URL(GATEWAY_TARGET);
let failures = 0;

/** What crosses: no pseudo-fields, nothing that belongs to one connection (RFC 9110 section 7.6.1). */
function forwardable(headers) {
  const named = new Set(String(headers.connection ?? '').toLowerCase().split(',').map(name => name.trim()));
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name[0] !== ':' && !hops.has(name) && !named.has(name)));
}

function serve(stream, headers) {
  stream.on('error', () => {});
  if (headers[':authority'] === 'agent.invalid') {
    const known = headers[':path'] === '/info';
    stream.respond({ ':status': known ? 200 : 404, 'content-type': 'application/json' });
    return stream.end(known ? '{"agent":"node-agent/1.0"}' : '');
  }
  const webSocket = headers[':protocol'] === 'websocket';
  const request = http.request({ host: target.hostname, port: target.port || 80, method: webSocket ? 'GET' : headers[':method'], path: headers[':path'],
    headers: { ...forwardable(headers), host: headers[':authority'],
      ...(webSocket && { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-key': Buffer.from(crypto.randomUUID().slice(0, 16)).toString('base64') }) } });
  request.on('response', response => {
    stream.respond({ ':status': response.statusCode, ...forwardable(response.headers) });
    response.on('aborted', () => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR)).pipe(stream);
  });
  request.on('upgrade', (response, socket, head) => {
    const { 'sec-websocket-accept': _, ...rest } = forwardable(response.headers);
    stream.respond({ ':status': 200, ...rest });
    stream.write(head);
    socket.on('error', () => stream.close()).pipe(stream).pipe(socket);
  });
  request.on('error', error => stream.headersSent ? stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR) : stream.respond({ ':status': 502,
    'proxy-status': `gateway-agent; error=${error.code === 'ECONNREFUSED' ? 'connection_refused' : 'connection_terminated'}` }, { endStream: true }));
  stream.on('close', () => request.destroy());
  webSocket ? request.end() : stream.pipe(request);
}

function dial() {
  const again = reason => setTimeout(dial, Math.random() * Math.min(60, 2 ** failures++) * 1000, console.log(`no tunnel: ${reason}`));
  const request = (GATEWAY_URL.startsWith('https:') ? https : http).request(new URL(`/v1/devices/${GATEWAY_UUID}/tunnel`, GATEWAY_URL),
    { headers: { host: GATEWAY_HOST, connection: 'upgrade', upgrade: 'ptth', alpn: 'h2', authorization: `Bearer ${GATEWAY_KEY}`, 'user-agent': 'node-agent/1.0' } });
  request.on('upgrade', (_, socket, head) => {
    socket.unshift(head);
    failures = 0;
    console.log('tunnel up');
    const session = http2.performServerHandshake(socket, { settings: { enableConnectProtocol: true, maxConcurrentStreams: 1000 } });
    session.on('stream', serve).on('error', () => socket.destroy()).on('close', () => again('the connection ended'));
  });
  request.on('response', response => again(`the gateway answered ${response.statusCode}`)).on('error', error => again(error.message)).end();
}
dial();
