// Validates every manifest of a file against the schema of its kind, custom resources among them: node validate.mjs FILE
import { readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';

const packages = {
  'cert-manager.io': '@kubernetes-models/cert-manager',
  'gateway.networking.k8s.io': '@kubernetes-models/gateway-api',
  'monitoring.coreos.com': '@kubernetes-models/prometheus-operator',
};
let good = 0, bad = 0;
for (const document of parseAllDocuments(readFileSync(process.argv[2], 'utf8'))) {
  const manifest = document.toJS();
  if (!manifest) continue;
  const group = manifest.apiVersion.includes('/') ? manifest.apiVersion.split('/')[0] : '';
  try {
    const { [manifest.kind]: Model } = await import(`${packages[group] ?? 'kubernetes-models'}/${manifest.apiVersion}/${manifest.kind}`);
    new Model(manifest).validate();
    good++;
  } catch (error) {
    bad++;
    console.log(`${manifest.kind} ${manifest.metadata?.name}: ${error.message}`);
  }
}
console.log(`${good} valid, ${bad} not`);
process.exit(bad === 0 && good > 0 ? 0 : 1);
