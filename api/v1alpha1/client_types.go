// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ClientsSpec says who may connect and from which web pages.
//
// +kubebuilder:validation:XValidation:rule="!has(self.cookie) || !has(self.allowedOrigins) || !('*' in self.allowedOrigins)",message="with clients.cookie name the allowedOrigins: '*' would let every page act as the user who visits it"
type ClientsSpec struct {
	// Anonymous lets clients connect without a token. A client that shows a
	// token is held to it all the same. Anonymous clients may join every room.
	// Default: false.
	// +optional
	Anonymous bool `json:"anonymous,omitempty"`

	// AllowedOrigins lists the web origins whose pages may connect, for example
	// https://shop.example.com or https://*.example.com ("*." stands for one or
	// more labels). "*" allows every origin. Default: only pages of the host
	// that the client connects to. Clients that send no Origin, which are not
	// browsers, are not held to it.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	AllowedOrigins []Origin `json:"allowedOrigins,omitempty"`

	// JWT lists the token issuers whose users may connect.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	JWT []JWTIssuer `json:"jwt,omitempty"`

	// Cookie is the name of a cookie that holds the token, for browsers whose pages are of the same
	// site and cannot read it (HttpOnly). A token that is shown otherwise goes first. Pages of
	// other origins than allowedOrigins names are refused as ever, so "*" cannot be
	// among these. Default: no cookie is looked at.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_.-]+$')",message="a cookie's name has letters, digits, '_', '.' and '-'"
	// +optional
	Cookie string `json:"cookie,omitempty"`

	// Rules say in CEL what clients may do.
	// +optional
	Rules *RulesSpec `json:"rules,omitempty"`

	// Revoked are users and tokens that may not connect any more, although their tokens
	// have not expired. Their sessions end at once.
	// +optional
	Revoked *RevokedSpec `json:"revoked,omitempty"`
}

// RevokedSpec lists users and tokens. Take them off when the tokens have expired.
type RevokedSpec struct {
	// Users by the "sub" of their tokens.
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	// +optional
	Users []string `json:"users,omitempty"`

	// TokenIDs by the "jti" of the tokens.
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	// +optional
	TokenIDs []string `json:"tokenIDs,omitempty"`
}

// RulesSpec says in CEL (https://cel.dev) what clients may do. Rules can use claims (of the
// token, {} for anonymous clients) and user (its sub, "" for anonymous clients), and what
// is said with each. One that cannot be evaluated for somebody, because a claim is missing
// or it takes too long, allows nothing; the push server's log says why.
type RulesSpec struct {
	// Connect: who may connect. It can use remote (the client's IP address) and headers (some
	// of the handshake's, names in lower case) as well. It is asked after clients.jwt and
	// clients.anonymous, which say who is verified. Default: whoever they let in.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Connect string `json:"connect,omitempty"`

	// Join: which rooms a client may join. It can use room as well. It stands in the place of
	// the default: rooms that the token's claim "rooms" lists, as names, "prefix*" or
	// "*"; on an anonymous Channel every room.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Join string `json:"join,omitempty"`

	// Emit: which events a client may emit to the Channel's handlers. It can use event as
	// well. Default: those that handlers name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Emit string `json:"emit,omitempty"`

	// Publish: which events a client may publish to other clients, without a handler in
	// between. It can use event, room ("" for the whole Channel; it is asked for each) and
	// rooms (those that the client is in) as well. Default: none.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Publish string `json:"publish,omitempty"`
}

// Origin is a web origin (RFC 6454): scheme://host[:port].
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=262
// +kubebuilder:validation:XValidation:rule="self == '*' || self.matches('^https?://([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*(:[1-9][0-9]{0,4})?$')",message="write an origin as scheme://host[:port] in lowercase without a path, for example https://shop.example.com; a leading '*.' stands for one or more labels, and '*' alone allows every origin"
type Origin string

// JWTIssuer trusts the JSON Web Tokens (RFC 7519) of one issuer.
//
// +kubebuilder:validation:XValidation:rule="[has(self.jwksURL), has(self.jwksSecretRef), has(self.hmacSecretRef)].exists_one(x, x)",message="set exactly one of jwksURL, jwksSecretRef and hmacSecretRef in each issuer"
type JWTIssuer struct {
	// Issuer must equal the token's "iss".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Issuer string `json:"issuer"`

	// Audiences: the token's "aud" must contain at least one of these.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=atomic
	Audiences []string `json:"audiences"`

	// JWKSURL is where the issuer publishes its JSON Web Key Set (RFC 7517), of the kinds that
	// jwksSecretRef takes: the jwks_uri of its OpenID configuration. The operator fetches it every 10
	// minutes, and within half a minute when a token of an unknown key comes; what was
	// fetched stays in use while the issuer is away. Addresses that are not public are only
	// called where the operator allows the host (jwks.privateHosts of its chart).
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="isURL(self) && (url(self).getScheme() == 'https' && url(self).getHostname() != '' || url(self).getScheme() == 'http' && url(self).getHostname() in ['localhost', '127.0.0.1']) && !self.contains('#') && !self.contains('@')",message="write jwksURL as https://HOST/PATH, without a user or fragment (http://localhost for klaxon serve only)"
	// +optional
	JWKSURL string `json:"jwksURL,omitempty"`

	// HMACSecretRef holds the key of at least 32 bytes with which tokens are
	// signed by HS256, HS384 or HS512 (RFC 7518 section 3.2).
	// +optional
	HMACSecretRef *SecretKeyRef `json:"hmacSecretRef,omitempty"`

	// JWKSSecretRef holds the issuer's JSON Web Key Set (RFC 7517): public keys for
	// RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA, at most
	// 64 of them. With several, to replace one by another, tokens name theirs (kid).
	// +optional
	JWKSSecretRef *SecretKeyRef `json:"jwksSecretRef,omitempty"`

	// ClockSkew is how far the issuer's clock may differ: tokens are taken this much before
	// they are valid and after they expire. From 1s to 5m. Default: 30s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}([.][0-9]{1,3})?(h|m|s)|[0-9]{1,6}ms){1,4}$') && duration(self) >= duration('1s') && duration(self) <= duration('5m')",message="clockSkew is a duration from 1s to 5m, for example 30s"
	// +optional
	ClockSkew *metav1.Duration `json:"clockSkew,omitempty"`
}
