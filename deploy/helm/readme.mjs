#!/usr/bin/env node
// Writes the table of values in deploy/helm/gateway/README.md from the comments of values.yaml; --check fails when it is not current.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const chart = join(dirname(fileURLToPath(import.meta.url)), 'gateway');
const rows = [], path = [];
let comment = '', skipBelow = -1;
for (const line of readFileSync(join(chart, 'values.yaml'), 'utf8').split('\n')) {
  const indent = line.search(/\S/);
  if (indent < 0) { comment = ''; continue; }
  const text = line.trim();
  if (text.startsWith('#')) { comment += (comment ? ' ' : '') + text.slice(1).trim(); continue; }
  const [, key, value] = /^([A-Za-z]+):\s*(.*)$/.exec(text) ?? [];
  if (!key || (skipBelow >= 0 && indent > skipBelow)) continue;
  skipBelow = -1;
  path.length = indent / 2;
  path.push(key);
  if (key === 'resources') { rows.push([path.join('.'), 'see values.yaml', comment]); skipBelow = indent; }
  else if (value !== '') rows.push([path.join('.'), `\`${value}\``, comment]);
  else rows.push([path.join('.'), '', comment]);
  comment = '';
}
const table = ['| value | default | meaning |', '|---|---|---|', ...rows.map(([key, value, meaning]) => value ? `| \`${key}\` | ${value} | ${meaning} |` : `| **\`${key}\`** | | ${meaning} |`)].join('\n');
const file = join(chart, 'README.md');
const before = readFileSync(file, 'utf8');
const escaped = table.replace(/<(?=[a-z])/g, '&lt;');
const after = before.replace(/<!-- values -->[\s\S]*<!-- \/values -->/, `<!-- values -->\n${escaped}\n<!-- /values -->`);
if (process.argv.includes('--check')) {
  if (before !== after) { console.error('readme.mjs: the table is not current: run node deploy/helm/readme.mjs'); process.exit(1); }
} else writeFileSync(file, after);
