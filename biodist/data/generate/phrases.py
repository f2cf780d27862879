"""The phrases that clauses are put together from.

In a phrase ``{x}`` is the name that the phrase is about; ``{Disease}``, ``{Chemical}``, ``{Gene}`` and ``{Species}``
are names of those types; the other slots are in :data:`FILLERS` or numbers. Words stand apart as tokens do.

The words that tell a type stand away from the name: beside it are words that go with every type, so that who looks
only at a word and its neighbours cannot tell.
"""

from __future__ import annotations

from typing import Final

TYPES: Final = ("Disease", "Chemical", "Gene", "Species")
DECOYS: Final = ("Cells", "Trial")  # carry code-like forms and are no entities
KINDS: Final = (*TYPES, *DECOYS)

FILLERS: Final[dict[str, tuple[str, ...]]] = {
    "adv": ("", "", "usually", "rarely", "generally", "often", "seldom", "mostly", "sometimes", "also"),
    "organ": ("kidney", "liver", "heart", "lung", "skin", "brain"),
    "animals": ("mice", "rats", "rabbits", "volunteers"),
    "months": ("weeks", "months", "days", "years"),
    "dose": ("mg/kg", "mg", "ug/ml", "mM", "nM"),
    "staff": ("the authors", "two reviewers", "our group", "others"),
}

SUBJECTS: Final = (
    "{x}",
    "{x}",
    "{x} , like {x} ,",
    "{x} ( n = {n} )",
    "{x} , but not {x} ,",
    "neither {x} nor {x}",
)
PLURAL_SUBJECTS: Final = ("both {x} and {x}", "{x} and {x}", "{x} , {x} and {x}")
PLURAL_VERBS: Final = {"was": "were", "is": "are", "has": "have", "had": "had"}  # the first word of each predicate

PREDICATES: Final[dict[str, tuple[str, ...]]] = {
    "Disease": (
        "was {adv} diagnosed in {n} of {n} children",
        "is {adv} diagnosed before the age of {n}",
        "had {adv} relapsed within {n} {months}",
        "was {adv} fatal by the age of {n}",
        "has an incidence of {n} per 100,000",
        "was {adv} inherited as a recessive trait",
        "has {adv} been attributed to faulty {process}",
        "was {adv} fatal in {n} of {n} patients",
        "was {adv} diagnosed in {n} patients after {procedure}",
        "had a relapse rate of {n} % despite {procedure}",
    ),
    "Chemical": (
        "was {adv} administered at {n} {dose}",
        "is {adv} absorbed from the gut",
        "was {adv} dissolved in saline",
        "has a half-life of {n} hours",
        "was {adv} given orally to {animals}",
        "is {adv} cleared by the {organ}",
        "was {adv} added at {n} {dose}",
        "has a bioavailability of {n} %",
        "was {adv} injected into {animals}",
        "has {adv} been withdrawn from the market",
    ),
    "Gene": (
        "was {adv} transcribed in the {organ}",
        "is {adv} phosphorylated during {process}",
        "was {adv} silenced by short hairpin RNA",
        "is {adv} encoded on chromosome {n}",
        "was {adv} overexpressed in the {organ}",
        "has a binding site for {Gene} in exon {n}",
        "had a missense mutation in exon {n}",
        "was {adv} spliced during {process}",
        "has {adv} been knocked out in {animals}",
        "has a promoter that {Gene} binds",
    ),
    "Species": (
        "was {adv} isolated from {n} of {n} swabs",
        "is {adv} cultured on blood agar",
        "was {adv} caught in the wild",
        "is {adv} found as a commensal of the {organ}",
        "has a genome of {n} megabases",
        "was {adv} transmitted by ticks",
        "has a habitat of wet soil",
        "was {adv} sequenced from {n} isolates",
        "has {adv} colonised the {organ} of {animals}",
        "was {adv} sampled in {n} rivers",
    ),
    "Cells": (
        "was {adv} passaged every {n} days",
        "is {adv} grown in serum-free medium",
        "was {adv} seeded at {n} wells a plate",
        "had {adv} reached confluence by day {n}",
        "was {adv} thawed from liquid nitrogen",
    ),
    "Trial": (
        "was {adv} registered before enrolment",
        "had {adv} randomised {n} volunteers",
        "was {adv} unblinded after {n} {months}",
        "is {adv} recruiting at {n} centres",
        "had a follow-up of {n} {months}",
    ),
}

# A phrase after the name says what it is; what follows then says nothing.
APPOSITIONS: Final[dict[str, tuple[str, ...]]] = {
    "Disease": (
        "a rare disorder of the {organ}",
        "the commonest illness of childhood",
        "a disease of unknown cause",
        "an inflammatory condition",
    ),
    "Chemical": (
        "an oral anticoagulant",
        "a drug of unknown structure",
        "the commonest of these antibiotics",
        "a solvent of low purity",
    ),
    "Gene": (
        "a kinase of unknown function",
        "the commonest oncogene of the {organ}",
        "a transcription factor",
        "an ion channel of the {organ}",
    ),
    "Species": (
        "a soil bacterium",
        "the commonest pathogen of the {organ}",
        "a parasite of unknown origin",
        "an animal of the forest",
    ),
    "Cells": ("a fibroblast line of the {organ}", "an immortalised line of unknown origin", "the commonest cell line"),
    "Trial": ("a multicentre trial", "an open-label study of {n} {months}", "the largest of these trials"),
}
NEUTRAL: Final = (
    "was {adv} discussed by {staff}",
    "is {adv} of interest to {staff}",
    "was {adv} chosen for further study",
    "has {adv} been described by {surname} et al.",
    "had {adv} been ignored by {staff}",
    "was {adv} mentioned in {n} reports",
    "is {adv} poorly understood",
    "was {adv} left out of the analysis",
)

# A word before a list says what its members are.
LISTS: Final[dict[str, tuple[str, ...]]] = {
    "Disease": ("the disorders under study", "the diagnoses made here", "comorbid illnesses", "the diseases we saw"),
    "Chemical": ("the drugs under study", "the compounds used here", "candidate antibiotics", "the solvents we saw"),
    "Gene": ("the kinases under study", "the proteins named here", "candidate oncogenes", "the genes we saw"),
    "Species": ("the bacteria under study", "the animals kept here", "candidate pathogens", "the parasites we saw"),
    "Cells": ("the cell lines under study", "candidate lines"),
    "Trial": ("the trials under study", "the studies named here"),
}
LIST_TAILS: Final = (
    "included {x} and {x}",
    "were {x} , {x} and {x}",
    "included {x} , {x} and perhaps {x}",
    "were limited to {x} and {x}",
    "were , in this order , {x} , {x} , {x} and {x}",
)

# Phrases on both sides of a verb that says nothing.
OBJECTS: Final[dict[str, tuple[str, ...]]] = {
    "Disease": (
        "the onset of {x}",
        "care of patients with {x}",
        "a family history of {x}",
        "the diagnosis of {x} or {x}",
        "a child free of {x}",
        "a report on {x} and {x} symptoms",
        "the course of untreated {x}",
    ),
    "Chemical": (
        "a dose of {x}",
        "treatment with {x}",
        "a plasma level of {x}",
        "the toxicity of {x} or {x}",
        "survival of {animals} given {x}",
        "a batch of {x} and {x} tablets",
        "the metabolism of labelled {x}",
    ),
    "Gene": (
        "the expression of {x}",
        "interaction with {x}",
        "a mutant of {x}",
        "the promoter of {x} or {x}",
        "survival of {animals} lacking {x}",
        "a count of {x} and {x} transcripts",
        "the phosphorylation of human {x}",
    ),
    "Species": (
        "an isolate of {x}",
        "colonisation with {x}",
        "a colony of {x}",
        "the habitat of {x} or {x}",
        "the spread of ticks carrying {x}",
        "a survey of {x} and {x} isolates",
        "the genome of wild {x}",
    ),
    "Cells": ("a flask of {x}", "a count of {x} and {x} monolayers", "the passage number of {x}"),
    "Trial": ("the protocol of {x}", "a report on {x} and {x} participants", "the sponsor of {x}"),
}
VERBS: Final = (
    "was {adv} associated with",
    "preceded",
    "did not alter",
    "was {adv} compared with",
    "depended on",
    "had no effect on",
    "was {adv} recorded after",
    "differed from",
)

OPENINGS: Final = (
    "here we show that",
    "after {n} {months} ,",
    "as {surname} et al. reported ,",
    "in contrast ,",
    "we found that",
    "during {process} ,",
    "by the {surname} criteria ,",
    "after {procedure} ,",
    "taken together ,",
    "in {n} {animals} ,",
)
LINKS: Final = (", whereas", ";", ", and", ", although", ", because", ", but")
CLOSINGS: Final = (
    "( P < 0.05 )",
    "( Fig. {n} )",
    "as shown by polymerase chain reaction ( PCR )",
    "on magnetic resonance imaging ( MRI )",
    "after {n} {months}",
    "in the {surname} test",
)
