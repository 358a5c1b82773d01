/* The gates that ask whether the order log and a shared counter have room for one more: before
 * stock is touched. As all gates (admit.c). */
#ifndef ADM_PLACES_H
#define ADM_PLACES_H

#include "gateway/admission/admit.h"

enum adm_gate adm_gate_log(struct adm_admission *admission);
enum adm_gate adm_gate_store(struct adm_admission *admission);

#endif
