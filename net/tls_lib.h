/* net/tls_lib: OpenSSL 3, loaded when the first TLS material is made, not linked.
 * Linked, it would cost every daemon that never speaks TLS 1.7 MB of PSS (0.5 MB of it dirty: the relocations of libcrypto's tables) and a
 * millisecond of start: more than all the rest of an idle daemon. So its functions are called through this table: `o->SSL_read_ex(...)`. The
 * types are those of OpenSSL's own headers; its macros (SSL_CTX_set_mode ...) would reach for the symbols and are spelt out as the _ctrl calls they are.
 *
 * One table a process, counted; who makes material, a context or a CSR holds a ref. It hangs on OpenSSL itself (OBJ_NAME, libcrypto's own register of names), because two things in it are
 * as global as the process: the library, and whether the kernel may dump us. `keys` counts the private keys that are held anywhere; with the first one PR_SET_DUMPABLE goes to 0, with the
 * last one it goes back. A process that is not dumpable leaves no core, and nobody but root may read its memory (ptrace, /proc/PID/mem); what it may see of itself stays.
 *
 * OpenSSL calls back where it hands a pointer of ours over (the judgement of a chain, the choice of ALPN); elsewhere a callback has to look this table up first (tls_lib_found, a microsecond),
 * which is done for new sessions only. So there is no BIO of our own, and no callback of X509_STORE_CTX. tools/lint looks that the daemon is not linked with it. Loop's thread only. */
#pragma once
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include "base/err.h"
#include "base/list.h"

#define TLS_LIB_FUNCTIONS(F) \
	F(ASN1_INTEGER_get_int64) F(ASN1_STRING_get0_data) F(ASN1_STRING_length) F(ASN1_STRING_set) F(ASN1_IA5STRING_new) F(ASN1_TIME_to_tm) \
	F(BIO_ctrl) F(BIO_ctrl_pending) F(BIO_free) F(BIO_new) F(BIO_new_mem_buf) F(BIO_read) F(BIO_s_mem) F(BIO_s_secmem) F(BN_bn2hex) F(BN_free) F(ASN1_INTEGER_to_BN) \
	F(BUF_MEM_free) F(BUF_MEM_grow) F(BUF_MEM_new) F(CRYPTO_free) \
	F(ERR_clear_error) F(ERR_peek_error) F(ERR_peek_last_error) F(ERR_reason_error_string) \
	F(EVP_Digest) F(EVP_PKEY_Q_keygen) F(EVP_PKEY_free) F(EVP_PKEY_get0_type_name) F(EVP_PKEY_get_bits) F(EVP_sha256) \
	F(GENERAL_NAMES_free) F(GENERAL_NAME_free) F(GENERAL_NAME_new) F(GENERAL_NAME_set0_value) F(OBJ_NAME_add) F(OBJ_NAME_get) F(OBJ_NAME_remove) \
	F(OPENSSL_cleanse) F(OPENSSL_sk_free) F(OPENSSL_sk_new_null) F(OPENSSL_sk_num) F(OPENSSL_sk_push) F(OPENSSL_sk_value) \
	F(PEM_read_bio_PrivateKey) F(PEM_read_bio_X509) F(PEM_read_bio_X509_CRL) F(PEM_write_bio_PrivateKey) F(PEM_write_bio_X509_REQ) \
	F(SSL_CTX_ctrl) F(SSL_CTX_free) F(SSL_CTX_new) F(SSL_CTX_set_alpn_protos) F(SSL_CTX_set_alpn_select_cb) F(SSL_CTX_sess_set_new_cb) \
	F(SSL_CTX_set_cert_verify_callback) F(SSL_CTX_set_cipher_list) F(SSL_CTX_set_ciphersuites) F(SSL_CTX_set_num_tickets) F(SSL_CTX_set_options) \
	F(SSL_CTX_set_session_id_context) F(SSL_CTX_set_session_ticket_cb) F(SSL_CTX_set_timeout) F(SSL_CTX_set_verify) F(SSL_CTX_use_PrivateKey) F(SSL_CTX_use_certificate) \
	F(SSL_SESSION_set1_ticket_appdata) F(SSL_SESSION_get0_ticket_appdata) F(SSL_SESSION_free) F(SSL_SESSION_get0_peer) F(SSL_SESSION_get0_ticket) F(SSL_SESSION_get_protocol_version) F(SSL_SESSION_is_resumable) F(SSL_SESSION_up_ref) \
	F(SSL_alert_desc_string_long) F(SSL_ctrl) F(SSL_do_handshake) F(SSL_free) F(SSL_get0_alpn_selected) F(SSL_get0_peer_CA_list) F(SSL_get0_peer_certificate) \
	F(SSL_get1_session) F(SSL_get_error) F(SSL_get_ex_data) F(SSL_get_ex_data_X509_STORE_CTX_idx) F(SSL_get_security_level) F(SSL_get_signature_type_nid) \
	F(SSL_get_session) F(SSL_get_peer_cert_chain) F(SSL_get_version) F(SSL_has_pending) F(SSL_new) F(SSL_peek_ex) F(SSL_pending) F(SSL_read_ex) \
	F(SSL_session_reused) F(SSL_set_accept_state) F(SSL_set_bio) F(SSL_set_connect_state) F(SSL_set_ex_data) F(SSL_set_session) F(SSL_set_shutdown) \
	F(SSL_shutdown) F(SSL_write_ex) F(TLS_client_method) F(TLS_server_method) \
	F(X509V3_EXT_i2d) F(X509_CRL_free) F(X509_CRL_get0_by_cert) F(X509_CRL_get_issuer) F(X509_CRL_up_ref) F(X509_CRL_verify) F(X509_CRL_digest) \
	F(X509_EXTENSION_free) F(X509_NAME_cmp) F(X509_NAME_print_ex) F(X509_REQ_add_extensions) F(X509_REQ_free) F(X509_REQ_new) F(X509_REQ_set_pubkey) F(X509_REQ_set_version) F(X509_REQ_sign) \
	F(X509_STORE_CTX_free) F(X509_STORE_CTX_get0_cert) F(X509_STORE_CTX_get0_chain) F(X509_STORE_CTX_get0_param) F(X509_STORE_CTX_get0_untrusted) F(X509_STORE_CTX_get_current_cert) \
	F(X509_STORE_CTX_get_error) F(X509_STORE_CTX_get_ex_data) F(X509_STORE_CTX_init) F(X509_STORE_CTX_new) F(X509_STORE_CTX_set_default) F(X509_STORE_CTX_set_error) \
	F(X509_STORE_add_cert) F(X509_STORE_free) F(X509_STORE_new) F(X509_STORE_set_default_paths) F(X509_STORE_set_flags) \
	F(X509_VERIFY_PARAM_set_auth_level) F(X509_VERIFY_PARAM_set_depth) F(X509_VERIFY_PARAM_set_flags) F(X509_VERIFY_PARAM_set_time) \
	F(X509_check_private_key) F(X509_check_purpose) F(X509_digest) F(X509_free) F(X509_get0_notAfter) F(X509_get0_notBefore) F(X509_get0_pubkey) F(X509_get0_serialNumber) \
	F(X509_get_X509_PUBKEY) F(X509_get_ext_d2i) F(X509_get_issuer_name) F(X509_get_key_usage) F(X509_get_subject_name) F(X509_pubkey_digest) F(X509_up_ref) \
	F(X509_verify_cert) F(X509_verify_cert_error_string) F(i2d_X509) F(i2d_X509_PUBKEY)

struct tls_lib {
#define F(name) __typeof__(name) *name;
	TLS_LIB_FUNCTIONS(F)
#undef F
	uint32_t refs;
	uint32_t keys;       /* private keys that somebody holds */
	int dumpable;        /* what the process was before the first of them */
	struct list csrs;    /* keys that went out as text: struct tls_csr_key */
	BUF_MEM *wide;       /* what OpenSSL writes lies here until it is pushed to the sock below: one for all connections, because it is empty between two calls; NULL: no connection */
	uint32_t wide_users;
};
struct tls_lib *tls_lib_get(struct err *err);   /* a ref. NULL: it cannot be loaded; err says why */
struct tls_lib *tls_lib_found(void);            /* borrowed; NULL: nobody holds one */
static inline struct tls_lib *tls_lib_ref(struct tls_lib *o) { o->refs++; return o; }
void tls_lib_unref(struct tls_lib **o);         /* accepts NULL inside */
void tls_lib_hold_key(struct tls_lib *o);
void tls_lib_drop_key(struct tls_lib *o);
