// Two machines on this one, for tests and measurements: network namespaces joined by a cable. Needs root and iproute2.
const { execFileSync } = require('node:child_process');
const { mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

let made = 0;

/**
 * @param options.rate what the cable carries each way, as tc writes it ("1gbit")
 * @param options.hosts what each machine has as /etc/hosts, instead of this one's
 * @throws Error with what the system says where it does not allow this
 */
function twoMachines({ rate, hosts } = {}) {
  const names = [0, 1].map((machine) => `xclip-${process.pid}-${made}-${machine}`);
  made++;
  const addresses = ['192.0.2.1', '192.0.2.2']; // reserved for examples: nothing real is shadowed
  const run = (program, ...words) => {
    try {
      execFileSync(program, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    } catch (error) {
      throw new Error(`${program} ${words.join(' ')}: ${(error.stderr || error.message).trim()}`);
    }
  };
  const there = [];
  const folder = mkdtempSync(join(tmpdir(), 'two-machines-'));
  const remove = () => {
    rmSync(folder, { recursive: true, force: true });
    for (const name of there.splice(0)) run('ip', 'netns', 'del', name);
  };
  try {
    for (const name of names) {
      run('ip', 'netns', 'add', name);
      there.push(name);
    }
    const end = ['name', 'eth0', 'netns'];
    run('ip', 'link', 'add', ...end, names[0], 'type', 'veth', 'peer', ...end, names[1]);
    names.forEach((name, machine) => {
      run('ip', '-n', name, 'addr', 'add', `${addresses[machine]}/24`, 'dev', 'eth0');
      if (hosts) writeFileSync(join(folder, String(machine)), hosts[machine]);
      for (const device of ['lo', 'eth0']) run('ip', '-n', name, 'link', 'set', device, 'up');
      const shape = ['tbf', 'rate', rate, 'burst', '256kb', 'latency', '50ms'];
      if (rate) run('tc', '-n', name, 'qdisc', 'add', 'dev', 'eth0', 'root', ...shape);
    });
  } catch (error) {
    remove();
    throw error;
  }
  return {
    addresses,
    command: (machine, words) => {
      const file = join(folder, String(machine));
      // "ip netns exec" gives the command mounts of its own.
      const named = hosts
        ? ['sh', '-c', `mount --bind ${file} /etc/hosts && exec "$@"`, 'sh', ...words]
        : words;
      return ['ip', 'netns', 'exec', names[machine], ...named];
    },
    remove,
  };
}

module.exports = { twoMachines };
