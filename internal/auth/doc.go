// Package auth checks and makes the JWTs that both commands accept.
//
// What a token must have: a signature by a configured key, exp (not more than the
// leeway in the past), nbf and iat (when they are there) not more than the leeway in the
// future, and iss and aud as configured. The algorithms follow from
// the configured keys and from nothing else: a secret allows HS256, an RSA key
// RS256, a P-256 key ES256, an Ed25519 key EdDSA. The header of a token only chooses
// among these, so "none", a surprise algorithm and a public key misused as an HMAC
// secret are all refused before a signature is looked at.
//
// Keys may come from a JWKS URL as well. The set is fetched at once by Run, or when it
// is first needed, kept, fetched again when it is old or when a token names a key that
// it lacks, at most once per interval whatever clients send. While the URL cannot be
// reached the keys already known stay valid; as long as it never gave any, a token that
// no other key verifies is an ErrUnavailable. Published tells how it stands.
//
// Every other refusal is an ErrInvalid, and Reason gives a text that may be shown to the
// bearer: it never holds any part of the token.
package auth
