/* sidecar/identities_int: what identities.c (all of them: a reload, who waits for what), identity.c (one, and its provider) and space.c (where names lead) share, and nobody else. See identities.h.
 *
 *   identities 1 --- n identity 1 --- 2 secrets, 1 provider
 *              1 --- n space    n --- 0..1 identity
 *
 * Owner of identities: struct sidecar; of an identity: its spaces, counted; of a space: identities. */
#pragma once
#include "sidecar/identities.h"
#include "sidecar/sidecar.h"

struct csr;
struct sds;
struct secret_files;
enum { WHYS = 8, WHY_MAX = 500 };
struct identity {
	struct list node;
	uint64_t key;                      /* identities_key of the line that it has; 0: it is nobody */
	uint64_t id;                       /* what views know it by: stays */
	uint32_t refs;                     /* spaces */
	struct identities *all;
	struct conf *whole;                /* counted: what conf lies in */
	const struct conf_identity *conf;
	char *app, *spiffe_id;             /* of the first app that has it */
	struct secret *cert, *roots;       /* refs: its own for all of its life; NULL: it is nobody */
	struct secret_watch cert_watch, roots_watch;
	uint64_t cert_told, roots_told, end_told; /* generations: what the log knows */
	uint64_t advised;                  /* a hash of the name that advice was given on since the last reload; 0: none */
	struct timer ends;                 /* of what is shown, where no CSR looks after it */
	struct sds *sds;                   /* its provider, one of them; or secret_files */
	struct csr *csr;
	bool kept, split, wished;          /* identities_apply's own */
	uint64_t wish;
};
struct space {
	struct secret_space is;
	struct list node;
	struct identities *all;
	char *app;                         /* NULL: of static services */
	bool current, was;                 /* of a line that is there; was: before this reload */
	struct identity *identity;         /* counted; NULL: of static services */
	char *trust_domain, **aliases;
	char (*why)[WHY_MAX];              /* the last few, WHYS of them: a reason is looked at after the call, and is nobody's to free; NULL: there was none yet */
	uint32_t nwhy;
};
struct identities {
	struct sidecar *sc;                /* borrowed: the owner */
	struct transports *transports;     /* borrowed */
	struct secret_files *files;        /* NULL: nobody has asked for one yet */
	struct secret *system;             /* a ref; NULL: nobody has asked by a name yet */
	struct list identities, spaces;
	struct space *fixed;
	uint64_t begun_ns;
	void (*prepared)(void *ctx);
	void *prepared_ctx;
	struct task prepared_task;
	struct timer patience;
	bool warned;                       /* of apps that an agent does not tell apart */
};

/* identities.c */
void identities_prepared_maybe(struct identities *i);                  /* something has come */
struct space *identities_space(const struct identities *i, const char *app); /* of the line that is there; NULL */

/* identity.c */
struct identity *identity_new(struct identities *i, struct conf *whole, const struct conf_app *app); /* refs 0 */
void identity_unref(struct identity **at);
void identity_borrow(struct identity *id, struct conf *whole, const struct conf_app *app); /* the configuration of now */
void identity_change(struct identity *id, struct conf *whole, const struct conf_app *app); /* another provider; what there is stays until that has better */
void identity_advise(struct identity *id);                             /* at each reload, and when a certificate of another name has come */
void identity_watch_end(struct identity *id);                          /* of what is shown; also when time has passed */
void identity_thaw(struct identity *id);
struct secret_files *identities_files(struct identities *i);
void identities_files_look(struct identities *i);
void identities_fill_system(struct secret *s);                         /* with the system's roots */

/* space.c */
struct space *space_new(struct identities *i, const struct conf_app *app, struct identity *identity); /* app NULL: of static services */
void space_free(struct space **at);
