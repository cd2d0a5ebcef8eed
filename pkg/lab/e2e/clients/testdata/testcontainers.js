// Testcontainers for Node, as its users use it; prints "ok STEP" or "not ok STEP: why".
const { GenericContainer, Network, Wait } = require('testcontainers');
const steps = require('./steps');

let network, web, box;
steps([
  ['network', async () => { network = await new Network().start(); }],
  ['container with reaper, waits for HTTP', async () => {
    web = await new GenericContainer('web').withExposedPorts(80).withNetwork(network).withNetworkAliases('site')
      .withEnvironment({ TC: 'node' }).withWaitStrategy(Wait.forHttp('/', 80)).withStartupTimeout(180000).start();
  }],
  ['mapped port', async () => {
    const r = await fetch(`http://${web.getHost()}:${web.getMappedPort(80)}/`);
    steps.has(await r.text(), 'It works');
  }],
  ['second container on the network, waits for its log', async () => {
    box = await new GenericContainer('busybox').withNetwork(network).withCommand(['sh', '-c', 'wget -qO- http://site/; exec sleep 600'])
      .withWaitStrategy(Wait.forLogMessage('It works')).withStartupTimeout(180000).start();
  }],
  ['exec', async () => {
    const r = await box.exec(['sh', '-c', 'echo from exec; exit 3']);
    steps.has(r.output, 'from exec');
    steps.has(String(r.exitCode), '3');
  }],
  ['logs', async () => {
    const stream = await box.logs();
    await new Promise((done, fail) => {
      let text = '';
      const late = setTimeout(() => fail(new Error(`no log: ${text}`)), 60000);
      stream.on('data', (b) => { text += b; if (text.includes('It works')) { clearTimeout(late); stream.destroy(); done(); } });
    });
  }],
  ['restart', async () => { await box.restart({ timeout: 1 }); }],
  ['stop', async () => { await box.stop({ timeout: 1 }); await web.stop({ timeout: 1 }); await network.stop(); }],
  ['left to the reaper', async () => {
    box = await new GenericContainer('busybox').withCommand(['sleep', '600']).withLabels({ 'left-by': 'testcontainers' }).start();
  }],
  ['copy to and from', async () => {
    await box.copyContentToContainer([{ content: 'some text', target: '/tmp/file' }]);
    const tar = await box.copyArchiveFromContainer('/tmp/file');
    let text = '';
    for await (const b of tar) text += b;
    steps.has(text, 'some text');
  }],
], true);
