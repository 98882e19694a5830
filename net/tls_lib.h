/* net/tls_lib: OpenSSL 3, loaded when the first TLS context is made, not linked.
 * Linked, it would cost every daemon that never speaks TLS 1.7 MB of PSS (0.5 MB of it dirty: the relocations of libcrypto's tables) and a
 * millisecond of start: more than all the rest of an idle daemon. So its functions are called through this table: `o->SSL_read_ex(...)`. The
 * types are those of OpenSSL's own headers; its macros (SSL_CTX_set_mode ...) would reach for the symbols and are spelt out as the _ctrl calls they are.
 *
 * OpenSSL calls back only where it hands a pointer of ours over (the judgement of a chain): elsewhere a callback could not find this table, which hangs on
 * no global. So there is no BIO of our own and no session callback. tools/lint looks that the daemon is not linked with it. Owner of a table: a tls_context; the library itself stays loaded. */
#pragma once
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include "base/err.h"

#define TLS_LIB_FUNCTIONS(F) \
	F(ASN1_STRING_get0_data) F(ASN1_STRING_length) F(ASN1_TIME_to_tm) \
	F(BIO_ctrl) F(BIO_ctrl_pending) F(BIO_free) F(BIO_new) F(BIO_new_mem_buf) F(BIO_read) F(BIO_s_mem) \
	F(ERR_clear_error) F(ERR_peek_error) F(ERR_peek_last_error) F(ERR_reason_error_string) \
	F(EVP_PKEY_free) F(GENERAL_NAMES_free) F(OPENSSL_cleanse) F(OPENSSL_sk_num) F(OPENSSL_sk_value) \
	F(PEM_read_bio_PrivateKey) F(PEM_read_bio_X509) \
	F(SSL_CTX_ctrl) F(SSL_CTX_free) F(SSL_CTX_get0_certificate) F(SSL_CTX_get_cert_store) F(SSL_CTX_new) F(SSL_CTX_set_alpn_protos) \
	F(SSL_CTX_set_cert_verify_callback) F(SSL_CTX_set_cipher_list) F(SSL_CTX_set_default_verify_paths) F(SSL_CTX_set_options) \
	F(SSL_CTX_set_verify) F(SSL_CTX_use_PrivateKey) F(SSL_CTX_use_certificate) \
	F(SSL_SESSION_free) F(SSL_SESSION_get0_peer) F(SSL_SESSION_get0_ticket) F(SSL_SESSION_is_resumable) \
	F(SSL_alert_desc_string_long) F(SSL_ctrl) F(SSL_do_handshake) F(SSL_free) F(SSL_get0_peer_CA_list) F(SSL_get1_session) F(SSL_get_error) F(SSL_get_ex_data) \
	F(SSL_get_ex_data_X509_STORE_CTX_idx) F(SSL_get_session) F(SSL_get_version) F(SSL_has_pending) F(SSL_new) F(SSL_peek_ex) F(SSL_read_ex) \
	F(SSL_session_reused) F(SSL_set0_wbio) F(SSL_set_bio) F(SSL_set_connect_state) F(SSL_set_ex_data) F(SSL_set_session) F(SSL_set_shutdown) \
	F(SSL_shutdown) F(SSL_write_ex) F(TLS_client_method) \
	F(X509_NAME_print_ex) F(X509_STORE_CTX_get0_cert) F(X509_STORE_CTX_get0_param) F(X509_STORE_CTX_get_current_cert) \
	F(X509_STORE_CTX_get_error) F(X509_STORE_CTX_get_ex_data) F(X509_STORE_CTX_set_error) F(X509_STORE_add_cert) F(X509_STORE_set_flags) \
	F(X509_VERIFY_PARAM_set_time) F(X509_check_private_key) F(X509_free) F(X509_get0_notAfter) F(X509_get0_notBefore) F(X509_get_ext_d2i) \
	F(X509_get_issuer_name) F(X509_get_subject_name) F(X509_verify_cert) F(X509_verify_cert_error_string)

struct tls_lib {
#define F(name) __typeof__(name) *name;
	TLS_LIB_FUNCTIONS(F)
#undef F
};
/* NULL: it cannot be loaded; err says why. To be freed with free(). */
struct tls_lib *tls_lib_load(struct err *err);
