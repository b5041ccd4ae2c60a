// An OpenID Connect server for tests: oidc-provider, and an endpoint for the JWT bearer grant, which it
// does not have, on the library jose. It prints its address and runs until it is killed.
//
//     node --input-type=module - < oidc_server.mjs      in a folder with node_modules
//     SECRET    secret                                   the secret of all clients
//     KEYS      {"RS256": "-----BEGIN PUBLIC KEY…"}      public keys of assertions
//     LIFETIMES {"alice": 300}                           clients, with the seconds of their tokens
import { createServer } from 'node:http';
import { importSPKI, jwtVerify } from 'jose';
import { Provider } from 'oidc-provider';

const keys = JSON.parse(process.env.KEYS);
const lifetimes = JSON.parse(process.env.LIFETIMES);
const kafka = (client) => ({
  scope: 'kafka',
  audience: 'kafka',
  accessTokenTTL: lifetimes[client.clientId],
  accessTokenFormat: 'jwt',
});

const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: Object.keys(lifetimes).map((id) => ({
    client_id: id,
    client_secret: process.env.SECRET,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    token_endpoint_auth_method: 'client_secret_basic',
    scope: 'kafka',
  })),
  scopes: ['kafka', 'other'],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    // Access tokens are JWTs only for a resource.
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:kafka',
      useGrantedResource: () => true,
      getResourceServerInfo: (_context, _resource, client) => kafka(client),
    },
  },
});
const answer = provider.callback();

async function grantForAssertion(request, response) {
  let body = '';
  for await (const chunk of request) body += chunk;
  const form = new URLSearchParams(body);
  let status = 200;
  let fields;
  try {
    if (form.get('grant_type') !== 'urn:ietf:params:oauth:grant-type:jwt-bearer') throw new Error('wrong grant');
    const { payload } = await jwtVerify(
      form.get('assertion'),
      async ({ alg }) => importSPKI(keys[alg], alg),
      { audience: issuer, issuer: 'tests', requiredClaims: ['exp', 'nbf', 'iat', 'sub', 'jti'], algorithms: Object.keys(keys) },
    );
    const client = await provider.Client.find(payload.sub);
    const token = new provider.ClientCredentials({ client, scope: form.get('scope') });
    token.resourceServer = new provider.ResourceServer('urn:kafka', kafka(client));
    fields = { access_token: await token.save(), token_type: 'Bearer', expires_in: token.expiration };
  } catch (error) {
    status = 400;
    fields = { error: 'invalid_grant', error_description: error.message };
  }
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(fields));
}

server.on('request', (request, response) =>
  request.url === '/assertion' ? grantForAssertion(request, response) : answer(request, response));
console.log(issuer);
