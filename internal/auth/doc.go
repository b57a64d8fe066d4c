// Package auth verifies and makes the JWTs that both commands accept.
//
// A token must have a signature by a configured key and an exp. exp, nbf and iat are checked with
// the configured leeway, iss and aud when they are configured. The allowed algorithms follow from
// the configured keys and from nothing else: a secret allows HS256, an RSA key RS256, a P-256 key
// ES256, an Ed25519 key EdDSA. The header of a token only chooses among these, so "none", an
// unexpected algorithm and a public key misused as an HMAC secret are refused before a signature is
// checked.
//
// golang-jwt parses tokens and verifies their signatures. Verify adds the checks that the library
// does not make. A token has at most 8 KiB and its header at most 1 KiB. Its JSON nests at most 8
// levels deep, and base64url is strict. Member names are exact, and no member of the header or the
// claims comes twice. The header crit is refused.
//
// # Keys from a URL
//
// Run fetches the JWKS at once and whenever it is older than JWKSRefresh. A token also causes a
// fetch if no key verifies it and none has its kid, or if it has no kid: at most one per JWKSRetry
// whatever clients send. While the URL cannot be reached the known keys stay valid. As long as it never answered, a token that no other key
// verifies is refused with ErrUnavailable. Published reports the state.
//
// # The token cache
//
// Verify remembers the tokens that it accepted, by their SHA-256, so that a token that is used
// again is neither parsed nor verified again: 1 µs instead of 13 (HS256). A service with one token
// sends thousands of requests a second. exp is checked on each use. When new keys were fetched, or
// the keys are due to be fetched, every token is verified again, so a key that was rotated out
// takes its tokens with it. Revocation is not checked here: the gateway does that for each
// connection, whether or not its token was remembered.
//
// # Errors
//
// Every error but ErrUnavailable is an ErrInvalid. Reason gives a text that may be shown to the
// bearer. It never contains any part of the token.
package auth
