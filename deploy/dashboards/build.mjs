#!/usr/bin/env node
// Writes the Grafana dashboards from the tables below: a row a panel, so that a change is a line and not a page of JSON.
//   node deploy/dashboards/build.mjs          writes *.json here and a copy of everything for the Helm chart
//   node deploy/dashboards/build.mjs --check  fails when what is written is not what would be
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const chart = join(here, '..', 'helm', 'gateway', 'files');

const all = '{job=~"$job",instance=~"$instance"}';
const where = more => `{job=~"$job",instance=~"$instance",${more}}`;
const rate = (metric, selector = all) => `rate(${metric}${selector}[$__rate_interval])`;
const quantile = (q, metric, by = '', selector = all) => `histogram_quantile(${q}, sum by (le${by ? `, ${by}` : ''}) (${rate(`${metric}_bucket`, selector)}))`;
const per = (label, expression) => `sum by (${label}) (${expression})`;

// Panel: [title, kind, unit, what it means, [expression, legend]...]
const dashboards = {
  fleet: ['Device gateway / Fleet', 'Is everything there, and does it serve?', [
    ['Devices connected', 'stat', 'short', 'Devices with a tunnel, counted on each node: one that keeps tunnels to two nodes counts twice.', [`sum(gateway_devices_connected${all})`, '']],
    ['Tunnels', 'stat', 'short', 'Tunnels that are up.', [`sum(gateway_tunnels_active${all})`, '']],
    ['Nodes up', 'stat', 'short', 'Nodes that Prometheus reaches.', [`sum(up${all})`, '']],
    ['Redis', 'stat', 'bool_yes_no', 'Whether Redis answers every node.', [`min(gateway_store_up${all})`, '']],
    ['Requests', 'timeseries', 'reqps', 'Visitors\' requests by status, the application\'s and the gateway\'s.', [per('http_response_status_code', rate('http_server_request_duration_seconds_count')), '{{http_response_status_code}}']],
    ['Answered by the gateway itself', 'timeseries', 'reqps', 'By reason: docs/failures.md.', [per('error_type', rate('gateway_requests_failed_total')), '{{error_type}}']],
    ['Devices connected by node', 'timeseries', 'short', 'A step down on one node and up on the others is a drain; down everywhere is a loss.', [per('instance', `gateway_devices_connected${all}`), '{{instance}}']],
    ['CPU', 'timeseries', 'percentunit', 'Share of one core.', [per('instance', rate('dotnet_process_cpu_time_seconds_total')), '{{instance}}']],
    ['Memory', 'timeseries', 'bytes', 'Resident.', [per('instance', `dotnet_process_memory_working_set_bytes${all}`), '{{instance}}']],
    ['Memory of what may be used', 'timeseries', 'percentunit', 'Beyond Limits:Node:MemoryPercent (85 %) the node refuses new requests and tunnels.', [per('instance', `gateway_node_memory${all}`), '{{instance}}'], [per('instance', `gateway_node_shedding${all}`), '{{instance}} refuses']],
    ['Time in garbage collection', 'timeseries', 'percentunit', 'Share of the time in which everything pauses.', [per('instance', rate('dotnet_gc_pause_time_seconds_total')), '{{instance}}']],
    ['Redis: 99 % answered within', 'timeseries', 's', 'By command.', [quantile(0.99, 'db_client_operation_duration_seconds', 'db_operation_name'), '{{db_operation_name}}']],
    ['Flags and keys answered by', 'timeseries', 'ops', 'memory is the normal case; stale means that Redis is away; unavailable means visitors are turned away.', [per('source', rate('gateway_device_lookups_total')), '{{source}}']],
  ]],
  edge: ['Device gateway / Edge', 'What visitors see.', [
    ['Requests in flight', 'timeseries', 'short', 'WebSockets and streams stay in flight for as long as they are open.', [per('kind', `gateway_requests_active${all}`), '{{kind}}']],
    ['Failures of the gateway', 'timeseries', 'percentunit', 'Share of requests that failed for a reason that is the gateway\'s or the tunnel\'s, not the device\'s or the visitor\'s.',
      [`(sum(${rate('gateway_requests_failed_total', where('error_type=~"tunnel-lost|node-unreachable|store-unavailable|internal-error"'))}) or vector(0)) / sum(${rate('http_server_request_duration_seconds_count')})`, 'failed']],
    ['Time to the head of the answer', 'timeseries', 's', 'From forwarding to the first byte of the application\'s answer: network, device and application together.',
      [quantile(0.5, 'gateway_response_delay_seconds'), '50 %'], [quantile(0.95, 'gateway_response_delay_seconds'), '95 %'], [quantile(0.99, 'gateway_response_delay_seconds'), '99 %']],
    ['Time to the end of the answer', 'timeseries', 's', 'Whole requests, WebSockets left out.',
      ...[0.5, 0.95, 0.99].map(q => [quantile(q, 'http_server_request_duration_seconds', '', where('http_response_status_code!="101"')), `${q * 100} %`])],
    ['Requests by HTTP version', 'timeseries', 'reqps', '', [per('network_protocol_version', rate('http_server_request_duration_seconds_count')), 'HTTP/{{network_protocol_version}}']],
    ['Requests by method', 'timeseries', 'reqps', '_OTHER is every method that HTTP does not define.', [per('http_request_method', rate('http_server_request_duration_seconds_count')), '{{http_request_method}}']],
    ['Exchanges that broke off', 'timeseries', 'ops', 'By the forwarder\'s error.', [per('error_type', rate('gateway_forwarder_errors_total')), '{{error_type}}']],
    ['Connections', 'timeseries', 'short', 'Visitors\', by port; a device\'s until its tunnel is up.', [per('server_port', `kestrel_active_connections${all}`), 'port {{server_port}}']],
    ['Connections that wait', 'timeseries', 'short', 'Above zero the process has no thread for them.', [per('instance', `kestrel_queued_connections${all}`), '{{instance}}']],
  ]],
  certificates: ['Device gateway / TLS and certificates', 'Whether visitors and devices can connect with TLS, and will tomorrow.', [
    ['Next certificate to end', 'stat', 's', 'Of all that are served. GatewayCertificateNearExpiry fires when its renewal is overdue.', [`min(gateway_certificates_expiry_seconds${all})`, '']],
    ['Certificates served', 'stat', 'short', 'On the node with the fewest; alike on all nodes that share a store.', [`min(gateway_certificates_served${all})`, '']],
    ['Certificates ordered in a day', 'stat', 'short', 'By all nodes; authorities limit them.', [`sum(increase(gateway_certificates_orders_total${where('error_type=""')}[1d]))`, '']],
    ['Orders that failed in a day', 'stat', 'short', 'The gateway tries again by itself.', [`sum(increase(gateway_certificates_orders_total${where('error_type!=""')}[1d])) or vector(0)`, '']],
    ['Certificates end in', 'timeseries', 's', 'Climbs at each renewal. on-demand: the next to end of those at first use.', [`min by (gateway_certificate) (gateway_certificates_expiry_seconds${all})`, '{{gateway_certificate}}']],
    ['Lifetime that is left', 'timeseries', 'percentunit', 'Renewals are due at a third, unless the authority says otherwise.', [`min by (gateway_certificate) (gateway_certificates_expiry_seconds${all} / gateway_certificates_lifetime_seconds${all})`, '{{gateway_certificate}}']],
    ['Orders', 'timeseries', 'short', 'At ACME servers, in the last hour; with the error of those that issued nothing.', [`sum by (server_address, error_type) (increase(gateway_certificates_orders_total${all}[1h]))`, '{{server_address}} {{error_type}}']],
    ['Orders took', 'timeseries', 's', '99 of 100, since the nodes have started: orders are rare. A client waits for those at first use.', [`histogram_quantile(0.99, sum by (le, server_address) (gateway_certificates_order_duration_seconds_bucket${all}))`, '{{server_address}}']],
    ['Handshakes that caused no order', 'timeseries', 'ops', 'Names that could have had a certificate at first use. not-entitled: no such device, or disabled; total-budget, address-budget: this hour\'s orders are used up.', [per('error_type', rate('gateway_certificates_on_demand_refused_total')), '{{error_type}}']],
    ['TLS handshakes', 'timeseries', 'ops', 'By version.',
      [per('tls_protocol_version', rate('kestrel_tls_handshake_duration_seconds_count', where('error_type=""'))), 'visitors, TLS {{tls_protocol_version}}'],
      [per('tls_protocol_version', rate('gateway_tunnel_tls_handshake_duration_seconds_count', where('error_type=""'))), 'devices, TLS {{tls_protocol_version}}']],
    ['TLS handshakes that failed', 'timeseries', 'ops', 'Port scans fail too; a step up on all nodes at once is a certificate that clients do not take.',
      [per('error_type', rate('kestrel_tls_handshake_duration_seconds_count', where('error_type!=""'))), 'visitors, {{error_type}}'],
      [per('error_type', rate('gateway_tunnel_tls_handshake_duration_seconds_count', where('error_type!=""'))), 'devices, {{error_type}}']],
    ['Handshakes took', 'timeseries', 's', 'The network is in it: two round trips, one with TLS 1.3.',
      ...[0.5, 0.99].flatMap(q => [[quantile(q, 'kestrel_tls_handshake_duration_seconds'), `visitors, ${q * 100} %`], [quantile(q, 'gateway_tunnel_tls_handshake_duration_seconds'), `devices, ${q * 100} %`]])],
    ['Visitors\' handshakes under way', 'timeseries', 'short', 'Devices\' wait beyond Tls:DeviceHandshakesPerSecond (gateway_tunnel_handshakes_waiting).', [per('instance', `kestrel_active_tls_handshakes${all}`), '{{instance}}']],
  ]],
  cluster: ['Device gateway / Cluster', 'How the nodes do together.', [
    ['Nodes up', 'stat', 'short', 'Nodes that Prometheus reaches.', [`sum(up${all})`, '']],
    ['Nodes that drain', 'stat', 'short', 'They send their devices to others and are not ready.', [`sum(gateway_node_draining${all})`, '']],
    ['Requests that hop', 'stat', 'percentunit', 'Share of requests that went on to another node, which has the tunnel. With two tunnels a device and n nodes, 1 - 2/n is normal.', [`sum(${rate('gateway_node_hops_total')}) / sum(${rate('http_server_request_duration_seconds_count')})`, '']],
    ['Waiting for a device to return', 'stat', 'short', 'Requests that are held for up to Edge:HoldTime.', [`sum(gateway_requests_held${all})`, '']],
    ['Devices by node', 'timeseries', 'short', 'A device that keeps tunnels to two nodes counts on both.', [per('instance', `gateway_devices_connected${all}`), '{{instance}}']],
    ['Draining', 'timeseries', 'short', 'A roll-out shows one node after the other.', [per('instance', `gateway_node_draining${all}`), '{{instance}}']],
    ['Hops', 'timeseries', 'reqps', 'By the node that the visitor came to.', [per('instance', rate('gateway_node_hops_total')), '{{instance}}']],
    ['Second ways', 'timeseries', 'reqps', 'Requests that were sent another way after a first one had failed: visitors noticed nothing.', [per('instance', rate('gateway_requests_repeated_total')), '{{instance}}']],
    ['Held', 'timeseries', 'short', 'Requests of devices that were here a moment ago and have no tunnel now.', [per('instance', `gateway_requests_held${all}`), '{{instance}}']],
    ['Nodes that another does not reach', 'timeseries', 'reqps', 'Requests that failed for it, by the node that the visitor came to.', [per('instance', rate('gateway_requests_failed_total', where('error_type="node-unreachable"'))), '{{instance}}']],
    ['Devices sent to another node', 'timeseries', 'ops', 'elsewhere: for a tunnel to a second node; stopping: by a node that drains.', [per('outcome', rate('gateway_tunnel_connects_total', where('outcome=~"elsewhere|stopping"'))), '{{outcome}}']],
    ['Tunnels that a drain ended', 'timeseries', 'ops', 'Their devices had a new one before.', [per('instance', rate('gateway_tunnel_duration_seconds_count', where('reason="stopping"'))), '{{instance}}']],
  ]],
  tunnels: ['Device gateway / Tunnels', 'The devices\' side.', [
    ['Tunnels', 'timeseries', 'short', '', [per('instance', `gateway_tunnels_active${all}`), '{{instance}}']],
    ['Handshakes', 'timeseries', 'ops', 'By outcome. wrong_key: a device with a key of another, or somebody who guesses.', [per('outcome', rate('gateway_tunnel_connects_total')), '{{outcome}}']],
    ['Ends', 'timeseries', 'ops', 'By reason. lost: the device or the network; surplus: newer tunnels of the device; stopping: a drain.', [per('reason', rate('gateway_tunnel_duration_seconds_count')), '{{reason}}']],
    ['Half of the tunnels that ended had lived', 'timeseries', 's', 'Short lives mean a network that cuts idle connections: lower Tunnels:DeadAfter.', [quantile(0.5, 'gateway_tunnel_duration_seconds', 'reason'), '{{reason}}']],
    ['Bytes through tunnels', 'timeseries', 'Bps', 'receive: from devices.', [per('network_io_direction', rate('gateway_tunnel_io_bytes_total')), '{{network_io_direction}}']],
    ['Tunnels a visitor has used', 'timeseries', 'short', 'HTTP/2 clients on tunnels, by what they do.', [per('http_connection_state', `http_client_open_connections${all}`), '{{http_connection_state}}']],
  ]],
};

const variable = (name, query) => ({
  name, type: 'query', datasource: { type: 'prometheus', uid: '${datasource}' }, query: { query, refId: name }, definition: query,
  refresh: 2, includeAll: true, multi: true, allValue: '.*', current: { text: 'All', value: '$__all' }, sort: 1,
});

function panel([title, type, unit, description, ...targets], index, stats) {
  const isStat = type === 'stat';
  const place = isStat ? { h: 4, w: 6, x: index * 6 % 24, y: 0 } : { h: 8, w: 12, x: (index - stats) % 2 * 12, y: (stats ? 4 : 0) + Math.floor((index - stats) / 2) * 8 };
  return {
    id: index + 1, title, type, description, gridPos: place, datasource: { type: 'prometheus', uid: '${datasource}' },
    fieldConfig: { defaults: { unit, min: 0, ...(isStat ? {} : { custom: { lineWidth: 1, fillOpacity: 8, showPoints: 'never' } }) }, overrides: [] },
    options: isStat
      ? { reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false }, colorMode: 'value', graphMode: 'area', textMode: 'value' }
      : { legend: { displayMode: 'list', placement: 'bottom', showLegend: true }, tooltip: { mode: 'multi', sort: 'desc' } },
    targets: targets.map(([expr, legendFormat], i) => ({ refId: String.fromCharCode(65 + i), expr, legendFormat, editorMode: 'code', range: true, instant: false, exemplar: unit === 's' })),
  };
}

function dashboard(name, [title, description, panels]) {
  const stats = panels.filter(([, type]) => type === 'stat').length;
  return JSON.stringify({
    uid: `device-gateway-${name}`, title, description, tags: ['device-gateway'], schemaVersion: 39, version: 1, editable: true, graphTooltip: 1, refresh: '30s', timezone: '',
    time: { from: 'now-3h', to: 'now' },
    templating: { list: [
      { name: 'datasource', type: 'datasource', query: 'prometheus', current: {}, label: 'Prometheus' },
      variable('job', 'label_values(gateway_tunnels_active, job)'),
      variable('instance', 'label_values(gateway_tunnels_active{job=~"$job"}, instance)'),
    ] },
    links: [{ type: 'dashboards', tags: ['device-gateway'], title: 'Device gateway', asDropdown: true, keepTime: true, includeVars: true }],
    panels: panels.map((row, index) => panel(row, index, stats)),
  }, null, 2) + '\n';
}

const check = process.argv.includes('--check');
let stale = 0;
function write(file, text) {
  if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
    if (check) { console.error(`build.mjs: ${file} is not what it would be: run node deploy/dashboards/build.mjs`); stale = 1; }
    else { mkdirSync(dirname(file), { recursive: true }); writeFileSync(file, text); }
  }
}
for (const [name, rows] of Object.entries(dashboards)) {
  const text = dashboard(name, rows);
  write(join(here, `${name}.json`), text);
  write(join(chart, 'dashboards', `${name}.json`), text);
}
write(join(chart, 'alerts.yaml'), readFileSync(join(here, 'alerts.yaml'), 'utf8'));
process.exit(stale);
