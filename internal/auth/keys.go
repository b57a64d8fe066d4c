package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// minSecretBytes is the least size of an HS256 key (RFC 7518 section 3.2).
const minSecretBytes = 32

// minDistinctBytes is the least number of different bytes in an HS256 key. One with a repeated
// character is a placeholder. A random one of 32 bytes has far more.
const minDistinctBytes = 5

// minRSABits is the least size of an RS256 key (RFC 7518 section 3.3).
const minRSABits = 2048

// parsePublicKey reads one PEM block: PKIX, PKCS #1 or a certificate.
func parsePublicKey(data []byte) (crypto.PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("must be PEM")
	}
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	}
	return nil, fmt.Errorf("must be a public key or a certificate, not a PEM block %q", block.Type)
}

// algorithmOf returns the one algorithm that a key may be used with.
func algorithmOf(key crypto.PublicKey) (string, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return "", fmt.Errorf("an RSA key must have at least %d bits", minRSABits)
		}
		return algRS256, nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return "", errors.New("an ECDSA key must be on P-256")
		}
		return algES256, nil
	case ed25519.PublicKey:
		return algEdDSA, nil
	}
	return "", fmt.Errorf("keys of type %T are not supported", key)
}

// addSecret allows HS256 with the secret, if there is one.
func (v *Verifier) addSecret(secret []byte) error {
	if len(secret) == 0 {
		return nil
	}
	err := validateSecret(secret)
	if err != nil {
		return err
	}

	v.static[algHS256] = []jwt.VerificationKey{slices.Clone(secret)}
	v.algorithms = append(v.algorithms, algHS256)
	return nil
}

func validateSecret(secret []byte) error {
	if len(secret) < minSecretBytes {
		return fmt.Errorf("the HS256 secret must have at least %d bytes, got %d", minSecretBytes, len(secret))
	}
	if countDistinct(secret) < minDistinctBytes {
		return fmt.Errorf("the HS256 secret must have at least %d different characters; generate one, for example with: openssl rand -hex 32",
			minDistinctBytes)
	}
	return nil
}

// countDistinct returns the number of different bytes.
func countDistinct(secret []byte) int {
	distinct := make(map[byte]bool)
	for _, b := range secret {
		distinct[b] = true
	}
	return len(distinct)
}

// addPublicKey allows the one algorithm that the key is for.
func (v *Verifier) addPublicKey(pem []byte) error {
	key, err := parsePublicKey(pem)
	if err != nil {
		return err
	}
	alg, err := algorithmOf(key)
	if err != nil {
		return err
	}

	v.static[alg] = append(v.static[alg], key)
	if !slices.Contains(v.algorithms, alg) {
		v.algorithms = append(v.algorithms, alg)
	}
	return nil
}

// addJWKS allows all asymmetric algorithms, since the published keys are not known yet. Each key
// still verifies the one algorithm of its own type.
func (v *Verifier) addJWKS(cfg Config) error {
	u, err := url.Parse(cfg.JWKSURL)
	isHTTP := err == nil && (u.Scheme == "https" || u.Scheme == "http")
	if !isHTTP || u.Host == "" {
		return errors.New("the JWKS URL must be an http or https URL")
	}

	v.jwks = newJWKS(cfg)
	for _, alg := range []string{algRS256, algES256, algEdDSA} {
		if !slices.Contains(v.algorithms, alg) {
			v.algorithms = append(v.algorithms, alg)
		}
	}
	return nil
}
