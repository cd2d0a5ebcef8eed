// dockerode, as its users use it; prints "ok STEP" or "not ok STEP: why".
const { PassThrough } = require('stream');
const path = require('path');
const Docker = require('dockerode');
const steps = require('./steps');

const docker = new Docker(); // DOCKER_HOST and the like
const follow = (s) => new Promise((done, fail) => docker.modem.followProgress(s, (err, out) => (err ? fail(err) : done(out))));
const pull = (name) => docker.pull(name).then(follow);
const collect = (stream) => new Promise((done, fail) => {
  const out = new PassThrough();
  let text = '';
  out.on('data', (b) => { text += b; });
  docker.modem.demuxStream(stream, out, out);
  stream.on('end', () => done(text));
  stream.on('error', fail);
});

let box, events;
const seen = [];
steps([
  ['ping, version, info', async () => {
    steps.has(String(await docker.ping()), 'OK');
    steps.has((await docker.version()).Os, 'linux');
    steps.has((await docker.info()).DefaultRuntime, 'vic');
  }],
  ['pull with progress', async () => { steps.has(JSON.stringify(await pull('busybox:latest')), 'Status'); }],
  ['images', async () => { steps.has(JSON.stringify(await docker.listImages()), 'busybox:latest'); steps.has((await docker.getImage('busybox').inspect()).Os, 'linux'); }],
  ['events', async () => {
    events = await docker.getEvents({ filters: { type: ['container'] } });
    events.on('data', (b) => seen.push(...String(b).trim().split('\n').map((l) => JSON.parse(l).Action)));
  }],
  ['run', async () => {
    const out = new PassThrough();
    let text = '';
    out.on('data', (b) => { text += b; });
    const [result, container] = await docker.run('busybox', ['sh', '-c', 'echo to stdout; exit 4'], out, { Tty: false });
    steps.has(String(result.StatusCode), '4');
    steps.has(text, 'to stdout');
    await container.remove();
  }],
  ['build', async () => {
    const context = path.join(__dirname, 'compose', 'tool');
    const told = await follow(await docker.buildImage({ context, src: ['Dockerfile'] }, { t: 'dockerode/built:1', buildargs: { WHO: 'dockerode' } }));
    steps.has(JSON.stringify(told), 'Successfully tagged dockerode/built:1');
    steps.has(JSON.stringify((await docker.getImage('dockerode/built:1').inspect()).Config.Cmd), '/made');
    await docker.getImage('dockerode/built:1').remove();
  }],
  ['create and start', async () => {
    box = await docker.createContainer({ name: 'dockerode-box', Image: 'busybox', Cmd: ['cat'], OpenStdin: true, Labels: { by: 'dockerode' }, Env: ['A=b'] });
    await box.start();
    steps.has((await box.inspect()).State.Status, 'running');
  }],
  ['list with filters', async () => { steps.has(JSON.stringify((await docker.listContainers({ filters: { label: ['by=dockerode'] } })).map((c) => c.Names)), '/dockerode-box'); }],
  ['exec', async () => {
    const exec = await box.exec({ Cmd: ['sh', '-c', 'echo $A; exit 5'], AttachStdout: true, AttachStderr: true });
    steps.has(await collect(await exec.start({ hijack: true, stdin: false })), 'b\n');
    steps.has(String((await exec.inspect()).ExitCode), '5');
  }],
  ['attach with stdin', async () => {
    const stream = await box.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
    const text = await new Promise((done, fail) => {
      const late = setTimeout(() => fail(new Error('no echo')), 60000);
      stream.on('data', (b) => { clearTimeout(late); done(String(b)); });
      stream.write('typed\n');
    });
    steps.has(text, 'typed');
    stream.destroy();
  }],
  ['logs', async () => { steps.has(String(await box.logs({ stdout: true, stderr: true })), 'typed'); }],
  ['stats', async () => { steps.has(JSON.stringify(await box.stats({ stream: false })), 'memory_stats'); }],
  ['rename, kill, wait, remove', async () => {
    await box.rename({ name: 'dockerode-renamed' });
    const ended = box.wait();
    await box.kill();
    steps.has(String((await ended).StatusCode), '137');
    await box.remove({ v: true });
  }],
  ['network and volume', async () => {
    const n = await docker.createNetwork({ Name: 'dockerode-net' });
    steps.has((await n.inspect()).Name, 'dockerode-net');
    await n.remove();
    const v = await docker.createVolume({ Name: 'dockerode-volume' });
    steps.has(JSON.stringify(await docker.listVolumes()), 'dockerode-volume');
    await docker.getVolume(v.name || 'dockerode-volume').remove();
  }],
  ['errors', async () => {
    try {
      await docker.getContainer('no-such').inspect();
    } catch (err) {
      steps.has(String(err.statusCode), '404');
      return;
    }
    throw new Error('a container that is not there was found');
  }],
  ['events were told', async () => { events.destroy(); steps.has(seen.join(), 'create'); steps.has(seen.join(), 'start'); steps.has(seen.join(), 'die'); }],
]);
