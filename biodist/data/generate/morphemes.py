"""The parts that names are composed of. The same parts serve every split; the names made of them do not."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ANATOMY: Final = _words(
    "nephr hepat cardi neur derm gastr enter oste arthr myel rhin pneum bronch crani cyst angi phleb lymph splen "
    "thyr aden encephal mening col proct chondr kerat ophthalm retin ur pancreat laryng trache spondyl gloss stomat"
)
DISEASE_ENDINGS: Final = _words(
    "itis osis oma opathy algia aemia omalacia oplegia openia odystrophy osclerosis ectasia odynia"
)
PROCEDURE_ENDINGS: Final = _words("ectomy oscopy oplasty ography otomy")
PROCESS_STEMS: Final = _words("phag end ex pin trans lys aut par hem cyt kary mei ap gluc prote macr")
PROCESS_ENDINGS: Final = _words("ocytosis okinesis ogenesis ostasis olysis optosis")

SYLLABLES: Final = _words("dal ver tol mar nid pex lor bun zet ral vin sor tam fen gol lid")
CHEMICAL_STEMS: Final = _words(
    "chlor fluor brom sulf nitr meth benz pyr thi eth prop but carb acet phen oxy amin cef quin hydr"
)
CHEMICAL_ENDINGS: Final = _words("in in in in ase umab inib ol ine ide ate azole omycin astatin one")
PROTEIN_STEMS: Final = _words(
    "cadher integr tubul globul neurex synapt connex claud occlud ferr fibr lamin myos dystr tropo kin select opson"
)
PROTEIN_ENDINGS: Final = _words("in in in ase ol ine one")

GENUS_STEMS: Final = _words(
    "bac strept staphyl myc salmon klebs borrel rickett trypan leishman plasm candid asperg fusar clostr pseud corv "
    "lister brucell spir"
)
GENUS_ENDINGS: Final = _words("obacter ococcus omonas omyces ella ia osoma obacillus ovirus")
EPITHET_STEMS: Final = _words("dorv mund palm riv mont silv camp nigr alb rubr aur vir mar laps fusc gran trist lat")
EPITHET_ENDINGS: Final = _words("ensis alis icola oides ii osum osis itis ana atum aemia oma")

SURNAME_STARTS: Final = _words("Ash Bar Cal Dun El Far Gar Hal Ker Lan Mor Nor Pel Rud Sut Tor Ver Wes Wyn Yar")
SURNAME_ENDS: Final = _words("ley ton well man berg son worth field ford more ner sen etti ova ini wick")

INHERENT: Final = _words("hereditary congenital juvenile idiopathic familial chronic sporadic infantile")
REGIONS: Final = _words("renal hepatic cardiac pulmonary gastric cutaneous spinal cerebral ocular pancreatic")
DISEASE_HEADS: Final = _words("carcinoma fibrosis insufficiency palsy dysplasia sarcoma ischaemia atrophy")
INFECTION_HEADS: Final = _words("infection fever pneumonia septicaemia abscess")
POISONING_HEADS: Final = _words("toxicity poisoning withdrawal hypersensitivity")
SALTS: Final = _words("hydrochloride sodium acetate maleate sulphate citrate")
ENZYMES: Final = _words("dehydrogenase hydroxylase synthase transporter reductase oxidase")
GREEK: Final = _words("alpha beta gamma delta")
ANIMALS: Final = _words("vole macaque hamster gerbil bat shrew")

# Real gene symbols that are also English words; each list belongs to one split.
WORD_SYMBOLS: Final = {
    "train": _words("MET KIT REST CAT SHE LARGE ACE BAD CLOCK FAT IMPACT POLE SET SKI TUB WAS CAPS GAS MICE STAR JUN"),
    "validation": _words("TRAP HOOK FLIP DOCK RING"),
    "test": _words("SPOT TANK COPE BRIDGE ARCH CHIC PIGS CHUM MINK LIME"),
}
CODE_LETTERS: Final = "ABCDEFGHIKLMNPRSTVX"
