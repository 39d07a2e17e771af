"""Texts that the doctor looks at when it is given none: prose, numbers, code, tables and other scripts."""

SAMPLES = (
    "The committee met on 14 March 1987 and again, after a pause of nearly three years, in the autumn of 1990. Its "
    "chairwoman, who had always insisted on punctuality, arrived late; nobody mentioned it. They agreed that the old "
    "bridge should be rebuilt in stone rather than steel, although the estimate (£3,412,000) frightened everyone.",
    "Photosynthesis converts light energy into chemical energy. In C4 plants, phosphoenolpyruvate carboxylase fixes "
    "CO2 in mesophyll cells, which raises its concentration around RuBisCO by a factor of 5-10 and suppresses "
    "photorespiration at temperatures above 25 °C.",
    "def read_rows(path: Path, limit: int | None = None) -> list[dict[str, str]]:\n"
    '    """Return the rows of a CSV file."""\n'
    '    with path.open(newline="", encoding="utf-8") as file:\n'
    "        return [row for n, row in enumerate(csv.DictReader(file)) if limit is None or n < limit]\n",
    "for (let i = 0; i < items.length; i++) {\n\tif (items[i].price >= 0.5 && !seen.has(items[i].id)) {\n\t\t"
    "total += items[i].price * 1.19;\n\t}\n}\n",
    "| city | 2019 | 2020 |\n|---|---:|---:|\n"
    "| Zürich | 1,538,000 | 1,544,300 |\n| São Paulo | 12,252,023 | 12,325,232 |\n",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Le cœur déçu mais l’âme plutôt naïve.",
    "知识融合的目标是将多个预训练模型的能力结合起来。 Кошка спит на окне. 🙂🚀",
)
