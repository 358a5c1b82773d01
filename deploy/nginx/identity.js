// Identifies the buyer: the subject of a token (JWT) that the shop has signed. penstock.conf runs this inside nginx before each order request.
//
// The token is three parts in base64url. Its header says "alg":"RS256"; any other algorithm is refused. Its claims need "sub", a string of 1 to
// 128 visible ASCII characters without quote and backslash, and "exp", a whole number of seconds since 1970 in the future; "nbf", if there,
// must be in the past. Answers 204, with X-User-Id if the token is valid.
import fs from 'fs';

const USER = /^[!#-\[\]-~]{1,128}$/;

function tokenOf(r) {
    const field = /^Bearer +([^ ]+)$/i.exec(r.headersIn['Authorization'] || '');
    return field ? field[1] : r.variables.cookie_shop_token || '';
}

function claimsOf(parts) {
    const read = part => JSON.parse(Buffer.from(part, 'base64url').toString());
    const claims = read(parts[1]);
    const now = Date.now() / 1000;
    const isTimely = Number.isInteger(claims.exp) && claims.exp > now && (claims.nbf === undefined || claims.nbf <= now);
    const isUser = typeof claims.sub === 'string' && USER.test(claims.sub);
    return read(parts[0]).alg === 'RS256' && isTimely && isUser ? claims : null;
}

async function isSigned(parts, keyFile) {
    const pem = fs.readFileSync(keyFile, 'utf8');
    const der = Buffer.from(pem.replace(/-----[^-]*-----/g, '').replace(/\s/g, ''), 'base64');
    const algorithm = {name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256'};
    const key = await crypto.subtle.importKey('spki', der, algorithm, false, ['verify']);
    return crypto.subtle.verify(algorithm, key, Buffer.from(parts[2], 'base64url'), Buffer.from(`${parts[0]}.${parts[1]}`));
}

function parsed(parts) {
    try {
        return parts.length === 3 ? claimsOf(parts) : null;
    } catch (e) {
        return null; // invalid JSON: a client error, not logged
    }
}

async function find(r) {
    const parts = tokenOf(r).split('.');
    const claims = parsed(parts);
    try {
        if (claims && await isSigned(parts, r.variables.penstock_key_file))
            r.headersOut['X-User-Id'] = claims.sub;
    } catch (e) {
        r.error(`the token cannot be checked: ${e.message}`);
    }
    r.return(204);
}

export default {find};
