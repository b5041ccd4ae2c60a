#!/usr/bin/env bash
# Make a CA for tests, and certificates for the broker and a client. Needs openssl.
#
#     docker/certificates.sh            writes docker/certificates/
#     docker/certificates.sh FOLDER     writes another folder
#
#     ca.pem        the certificate of the CA: clients trust it
#     ca.key        its key
#     kafka.pem     key, certificate and CA of the broker, for localhost, 127.0.0.1 and kafka
#     client.pem    key, certificate and CA of the client alice
#
# Keys are readable for all, because the broker runs as another user: never use them elsewhere. Existing
# files are replaced.

set -euo pipefail

folder=${1:-$(dirname "$0")/certificates}
days=3650
mkdir -p "$folder"
cd "$folder"

# issue NAME FILE EXTENSIONS...: a key and a certificate of the CA, together in FILE
issue() {
    local name=$1 file=$2
    shift 2
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$file.key" 2>/dev/null
    openssl req -new -key "$file.key" -subj "/O=aioproducer tests/CN=$name" -out "$file.csr"
    printf '%s\n' "$@" >"$file.extensions"
    openssl x509 -req -in "$file.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days "$days" -sha256 \
        -extfile "$file.extensions" -out "$file.crt" 2>/dev/null
    cat "$file.key" "$file.crt" ca.pem >"$file"
    chmod a+r "$file"
    rm -f "$file".{key,csr,extensions,crt} ca.srl
}

openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days "$days" -keyout ca.key -out ca.pem \
    -subj "/O=aioproducer tests/CN=Test CA" 2>/dev/null
issue kafka kafka.pem "subjectAltName=DNS:localhost,DNS:kafka,IP:127.0.0.1" "extendedKeyUsage=serverAuth"
issue alice client.pem "extendedKeyUsage=clientAuth"

echo "Wrote ca.pem, ca.key, kafka.pem and client.pem to $PWD"
