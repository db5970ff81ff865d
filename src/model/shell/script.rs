//! Where the variables of a script stand: a shell reads them, so it matters how they are quoted.
//!
//! In a script a variable becomes a reference to an environment variable. Between single quotes, and in a here-document
//! whose word is quoted, the shell leaves the reference as it is. In what the script hands to another interpreter as
//! code, the shell puts the value into the code.

use super::code::Code;
use super::command::{Command, HereDocument, Misplaced, Role, Word};
use crate::model::template::{Part, pieces};

/// Deeper nesting is no script that people write; what stands in it is not looked at.
const DEPTH_MAX: usize = 50;

/// The variables of a shell's script that stand where they can't mean their values. Comments are left out.
pub fn misplaced(script: &str) -> Vec<Misplaced> {
    let mut items = Vec::with_capacity(script.len());
    for (piece, part) in pieces(script) {
        match part {
            Ok(Part::Text(text)) => items.extend(text.chars().map(Item::Char)),
            _ => items.push(Item::Variable(piece)),
        }
    }
    let end = items.len();
    let mut scan = Scan { items, at: 0, end, depth: 0, sink: None, found: Vec::new() };
    scan.code(Until::End);
    scan.found
}

#[derive(Clone, Copy)]
enum Item<'s> {
    Char(char),
    /// As it is written.
    Variable(&'s str),
}

/// What ends a piece of code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    End,
    /// `)`
    Parenthesis,
    /// `))`
    Parentheses,
    Backtick,
}

struct Scan<'s> {
    items: Vec<Item<'s>>,
    at: usize,
    /// Here-documents are read by themselves.
    end: usize,
    depth: usize,
    /// What reads the output of the commands that come next as code.
    sink: Option<Code<'static>>,
    found: Vec<Misplaced>,
}

impl<'s> Scan<'s> {
    fn next(&mut self) -> Option<Item<'s>> {
        let item = self.items.get(self.at).copied().filter(|_| self.at < self.end)?;
        self.at += 1;
        Some(item)
    }

    fn next_if(&mut self, wanted: char) -> bool {
        let is_there = self.peek() == Some(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    fn peek(&self) -> Option<char> {
        match self.items.get(self.at) {
            Some(Item::Char(c)) if self.at < self.end => Some(*c),
            _ => None,
        }
    }

    /// Reads commands up to `until`.
    fn code(&mut self, until: Until) {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.at = self.items.len();
            self.end = self.at;
        }
        let sink = self.sink.take();
        let mut command = Command::default();
        // What stands before the last `|`.
        let mut pipeline: Vec<Command<'s>> = Vec::new();
        // They begin on the next line.
        let mut documents: Vec<(HereDocument, Option<Code<'static>>)> = Vec::new();
        let (mut cases, mut open) = (0, 0);
        while let Some(item) = self.next() {
            let c = match item {
                Item::Variable(variable) => {
                    command.variable(variable, false);
                    continue;
                }
                Item::Char(c) => c,
            };
            let is_arithmetic = until == Until::Parentheses;
            match c {
                '`' if until == Until::Backtick => break,
                ' ' | '\t' => cases += command.end_word(),
                '\n' => {
                    cases += command.end_word();
                    // Behind a `|` it goes on; the documents begin nevertheless.
                    if command.words.is_empty() && !pipeline.is_empty() {
                        let here = pipeline.iter_mut().flat_map(|it| std::mem::take(&mut it.here_documents));
                        documents.extend(here.map(|document| (document, None)));
                    } else {
                        documents.extend(self.end_pipeline(&mut pipeline, &mut command, sink));
                    }
                    for (document, reader) in documents.drain(..) {
                        self.here_document(&document, reader);
                    }
                }
                '#' if !command.is_in_word && !is_arithmetic => self.comment(until),
                // `2>&1` is no end.
                '&' if self.is_behind(2, &['<', '>']) || self.peek() == Some('>') => {
                    cases += command.end_word()
                }
                '|' if self.is_behind(2, &['>']) => {}
                '|' if !self.next_if('|') => {
                    self.next_if('&');
                    cases += command.end_word();
                    pipeline.push(std::mem::take(&mut command));
                }
                ';' | '&' | '|' => {
                    cases += command.end_word();
                    documents.extend(self.end_pipeline(&mut pipeline, &mut command, sink));
                }
                '<' if self.peek() == Some('<') && !is_arithmetic => {
                    cases += command.end_word();
                    self.at += 1;
                    if self.next_if('<') {
                        command.next = Role::HereString;
                    } else {
                        let document = self.here_word();
                        command.here_documents.push(document);
                    }
                }
                '<' | '>' => {
                    command.redirect();
                    cases += command.end_word();
                }
                '(' if is_arithmetic => open += 1,
                ')' if is_arithmetic && open > 0 => open -= 1,
                // A subshell at the beginning of `$((` was none.
                ')' if is_arithmetic => {
                    if !self.next_if(')') {
                        self.code(Until::Parenthesis);
                    }
                    break;
                }
                '(' => {
                    command.next = Role::Argument;
                    if self.is_behind(2, &['<']) {
                        self.sink = command.reader_of_file();
                    }
                    let is_first = command.words.iter().all(|word| word.is_opening() || word.text == "for");
                    let is_arithmetic = is_first && !command.is_in_word && self.next_if('(');
                    self.code(if is_arithmetic { Until::Parentheses } else { Until::Parenthesis });
                }
                ')' => {
                    cases += command.end_word();
                    documents.extend(self.end_pipeline(&mut pipeline, &mut command, sink));
                    // In a `case` it ends a pattern.
                    if until == Until::Parenthesis && cases <= 0 {
                        break;
                    }
                }
                c => self.in_code(c, &mut command),
            }
        }
        command.end_word();
        self.end_pipeline(&mut pipeline, &mut command, sink);
        self.depth -= 1;
    }

    /// Whether the character `back` before the next one is one of these.
    fn is_behind(&self, back: usize, wanted: &[char]) -> bool {
        let item = self.at.checked_sub(back).and_then(|at| self.items.get(at));
        matches!(item, Some(Item::Char(c)) if wanted.contains(c))
    }

    /// What quotes or substitutes, and all that is plain.
    fn in_code(&mut self, c: char, command: &mut Command<'s>) {
        match c {
            '\\' => self.escaped(command.word()),
            '\'' => self.single_quotes(command.word(), false),
            '"' => self.double_quotes(command.word()),
            '$' if self.next_if('\'') => self.single_quotes(command.word(), true),
            '$' | '`' => self.substitution(c, command.word(), false),
            c => command.word().text.push(c),
        }
    }

    fn escaped(&mut self, word: &mut Word<'s>) {
        match self.next() {
            Some(Item::Variable(variable)) => self.found.push(Misplaced::Escaped(variable.to_owned())),
            Some(Item::Char('\n')) | None => {}
            Some(Item::Char(c)) => word.text.push(c),
        }
        word.is_quoted = true;
    }

    fn single_quotes(&mut self, word: &mut Word<'s>, has_escapes: bool) {
        word.is_quoted = true;
        while let Some(item) = self.next() {
            match item {
                Item::Char('\'') => return,
                Item::Char('\\') if has_escapes && self.peek().is_some() => self.at += 1,
                Item::Char(c) => word.text.push(c),
                Item::Variable(variable) => word.variables.push((variable, true)),
            }
        }
    }

    fn double_quotes(&mut self, word: &mut Word<'s>) {
        word.is_quoted = true;
        while let Some(item) = self.next() {
            match item {
                Item::Char('"') => return,
                Item::Char('\\') => self.escaped(word),
                Item::Char(c @ ('$' | '`')) => self.substitution(c, word, true),
                Item::Char(c) => word.text.push(c),
                Item::Variable(variable) => word.variables.push((variable, false)),
            }
        }
    }

    /// Behind a `$` or a backtick.
    fn substitution(&mut self, c: char, word: &mut Word<'s>, is_quoted: bool) {
        if c == '`' {
            self.code(Until::Backtick);
        } else if self.next_if('(') {
            let is_arithmetic = self.next_if('(');
            self.code(if is_arithmetic { Until::Parentheses } else { Until::Parenthesis });
        } else if self.next_if('{') {
            self.depth += 1;
            if self.depth <= DEPTH_MAX {
                self.braces(word, is_quoted);
            }
            self.depth -= 1;
        } else {
            word.text.push('$');
        }
    }

    /// `${NAME:-…}` of the shell's own; in double quotes a single quote in it is none.
    fn braces(&mut self, word: &mut Word<'s>, is_quoted: bool) {
        while let Some(item) = self.next() {
            match item {
                Item::Char('}') => return,
                Item::Char('\'') if !is_quoted => self.single_quotes(word, false),
                Item::Char('"') => self.double_quotes(word),
                Item::Char('\\') => self.escaped(word),
                Item::Char(c @ ('$' | '`')) => self.substitution(c, word, is_quoted),
                Item::Char(c) => word.text.push(c),
                Item::Variable(variable) => word.variables.push((variable, false)),
            }
        }
    }

    fn comment(&mut self, until: Until) {
        while self.at < self.end {
            match self.peek() {
                Some('\n') => return,
                Some('`') if until == Until::Backtick => return,
                _ => self.at += 1,
            }
        }
    }

    /// The word behind `<<`.
    fn here_word(&mut self) -> HereDocument {
        let mut document =
            HereDocument { word: String::new(), is_quoted: false, has_tabs: self.next_if('-') };
        while self.next_if(' ') || self.next_if('\t') {}
        while let Some(c) = self.peek().filter(|c| !c.is_whitespace() && !";&|<>()`".contains(*c)) {
            self.at += 1;
            if ['\'', '"', '\\'].contains(&c) {
                document.is_quoted = true;
            } else {
                document.word.push(c);
            }
        }
        document
    }

    /// Reads a here-document from its first line on; `reader` is the program that reads it as code, if one does.
    fn here_document(&mut self, document: &HereDocument, reader: Option<Code<'static>>) {
        let (begin, end) = (self.at, self.end_of_here_document(document));
        self.at = begin;
        let whole = self.end;
        self.end = end.min(whole);
        let mut word = Word::default();
        while let Some(item) = self.next() {
            match item {
                Item::Variable(variable) => {
                    let variable = variable.to_owned();
                    match reader {
                        Some(code) if document.is_quoted && code.reads_environment => {}
                        Some(code) if !document.is_quoted => {
                            self.found.push(Misplaced::Code(variable, code.program.to_owned()));
                        }
                        _ if document.is_quoted => {
                            self.found.push(Misplaced::HereDocument(variable, document.word.clone()));
                        }
                        _ => {}
                    }
                }
                Item::Char(_) if document.is_quoted => {}
                Item::Char('\\') => self.escaped(&mut word),
                Item::Char(c @ ('$' | '`')) => self.substitution(c, &mut word, true),
                Item::Char(_) => {}
            }
        }
        self.end = whole;
        // The line with its word.
        while self.at < self.end && self.peek() != Some('\n') {
            self.at += 1;
        }
        self.at = (self.at + 1).min(self.end);
    }

    /// Where the line begins that ends the document.
    fn end_of_here_document(&self, document: &HereDocument) -> usize {
        let mut begin = self.at;
        while begin < self.end {
            let is_end = |item: &Item<'_>| matches!(item, Item::Char('\n'));
            let length = self.items[begin..self.end].iter().position(is_end).unwrap_or(self.end - begin);
            let line = self.items[begin..begin + length].iter();
            let line: Option<String> =
                line.map(|item| if let Item::Char(c) = item { Some(*c) } else { None }).collect();
            let strip = |line: &str| {
                if document.has_tabs { line.trim_start_matches('\t').to_owned() } else { line.to_owned() }
            };
            if line.is_some_and(|line| strip(&line) == document.word) {
                return begin;
            }
            begin += length + 1;
        }
        self.end
    }

    /// Judges the commands of the pipeline that ends here, from its last on: `sink` reads what that one prints. Returns
    /// their here-documents, each with the program that reads it as code, if one does.
    fn end_pipeline(
        &mut self,
        pipeline: &mut Vec<Command<'s>>,
        last: &mut Command<'s>,
        mut sink: Option<Code<'static>>,
    ) -> Vec<(HereDocument, Option<Code<'static>>)> {
        pipeline.push(std::mem::take(last));
        let (mut found, mut documents) = (Vec::new(), Vec::new());
        for command in pipeline.drain(..).rev() {
            let mut of_command = Vec::new();
            sink = command.judge(sink, &mut of_command);
            found.push(of_command);
            documents.extend(command.here_documents.into_iter().rev().map(|document| (document, sink)));
        }
        self.found.extend(found.into_iter().rev().flatten());
        documents.reverse();
        documents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_the_shell_substitutes_is_well_placed() {
        for script in [
            "echo ${config.x}",
            "echo \"${config.x}\" 'it is' \"it's ${config.x}\"",
            "# it's ${config.x}\necho ${config.x}",
            "echo a#b 'x' ${config.x}",
            "echo \\' ${config.x} \\'",
            "echo \"a \\\" ' ${config.x} '\"",
            "echo \"$(echo \"${config.x}\" 'a')\" \"'${config.x}'\"",
            "echo `echo 'a'` ${config.x}",
            "echo `# it's\n` ${config.x}",
            "x=$(case a in a) echo it\\'s;; (b) echo 'b';; esac) ${config.x}",
            "echo \"$(case $a in 'x') echo y;; esac)\" \"'${config.x}'\"",
            "cat <<EOF\nit's '${config.x}' \"\nEOF\necho ${config.x}",
            "cat <<-EOF\n\t'${config.x}'\n\tEOF\necho 'x'",
            "cat <<EOF | sort\n'${config.x}'\nEOF",
            "cat <<'EOF'\nit's\nEOF\necho ${config.x}",
            "cat <<A <<'B'\n'${config.x}'\nA\nit's\nB\necho ${config.x}",
            "cat <<< \"'${config.x}'\"",
            "echo $((1<<2)) '3' ${config.x}",
            "echo $(( (1+2) * 3 )) $((16#ff)) ${config.x}",
            "echo $((echo 'a'; echo b) | cat) ${config.x}",
            "((i << 2)); while ((i << 2)); do echo 'a' ${config.x}; done",
            "echo \"$${x:-it's} ${config.x}\"",
            "echo $${x#'a'} ${config.x}",
            "f() { echo 'f'; }; f ${config.x}",
            "a=('x' \"${config.x}\")",
            "echo $'it\\'s' ${config.x}",
            "[[ $a == *'x'* ]] && echo ${config.x} 2>&1",
            "awk 'END { print NR }' \"${input_file}\"",
            "trap 'rm -f \"${output_dir}/part\"' EXIT",
            "bash -c 'echo \"${config.x}\"'",
            "find . -exec sh -c 'echo \"$1 ${config.x}\"' x {} \\;",
            "bash <<'EOF'\necho \"${config.x}\"\nEOF",
            "ssh host cat <<EOF\n${config.x}\nEOF",
            "echo bash <<EOF\n${config.x}\nEOF",
            "python3 tool.py <<EOF\n${config.x}\nEOF",
            "grep awk ${input_file}; ssh ${config.host} uptime",
            "echo \"${config.x}\" | sort > log; bash <<< 'rm \"${config.x}\"'",
            "echo 'rm \"${config.x}\"' | bash; cat <<'EOF' | sh\nrm \"${config.x}\"\nEOF",
            "echo \"${config.x}\" || sh; echo \"${config.x}\" | bash tool.sh; cat \"${input_file}\" | bash",
            "echo \"${config.x}\" | python3 -c 'import sys' 2>&1 | tee \"${output_dir}/log\"",
            "diff <(echo \"${config.x}\") b; su - x -c 'cat' <<EOF\n${config.x}\nEOF",
            "bash tool.sh < \"${input_file}\" &> \"${output_dir}/log\"",
            "case ${config.x} in a) echo 'a';; *) echo \"${config.x}\";; esac",
        ] {
            assert_eq!(misplaced(script), [], "{script}");
        }
    }

    #[test]
    fn a_variable_that_stays_as_it_is_or_becomes_code_is_found() {
        let single = |name: &str| vec![Misplaced::SingleQuotes(name.to_owned(), None)];
        let in_code =
            |program: &str| vec![Misplaced::SingleQuotes("${config.x}".to_owned(), Some(program.to_owned()))];
        let code = |program: &str| vec![Misplaced::Code("${config.x}".to_owned(), program.to_owned())];
        let here = |word: &str| vec![Misplaced::HereDocument("${config.x}".to_owned(), word.to_owned())];
        for (script, expected) in [
            ("echo '${config.x}'", single("${config.x}")),
            ("echo 'a ${config.x:-b c} d' \"${config.y}\"", single("${config.x:-b c}")),
            ("echo \"it's\"'${config.x}'", single("${config.x}")),
            ("# it's\necho '${config.x}'", single("${config.x}")),
            ("echo \"$(echo '${config.x}')\"", single("${config.x}")),
            ("echo `echo '${config.x}'`", single("${config.x}")),
            ("echo $'${config.x}\\n'", single("${config.x}")),
            ("echo \\'; echo '${config.x}'", single("${config.x}")),
            ("x='{\"a\": \"${config.x}\"}'", single("${config.x}")),
            ("awk '{ print \"${config.x}\" }' file", in_code("awk")),
            ("echo '\n${config.x}\n'", single("${config.x}")),
            ("cat <<'EOF' > file\n${config.x}\nEOF", here("EOF")),
            (
                "cat << \"END\"\na ${config.x} b\nEND\necho '${config.y}'",
                vec![here("END").remove(0), single("${config.y}").remove(0)],
            ),
            ("cat <<\\EOF\n${config.x}\nEOF", here("EOF")),
            ("x=$(cat <<-'EOF'\n\t${config.x}\n\tEOF\n)", here("EOF")),
            ("cat <<EOF\n$(echo '${config.x}')\nEOF", single("${config.x}")),
            ("echo \\${config.x}", vec![Misplaced::Escaped("${config.x}".to_owned())]),
            ("echo \"\\${config.x}\"", vec![Misplaced::Escaped("${config.x}".to_owned())]),
            ("bash -c \"echo ${config.x}\"", code("bash")),
            ("A=1 exec python3 -c \"print('${config.x}')\"", code("python3")),
            ("python3 -c 'print(\"${config.x}\")'", in_code("python3")),
            ("if true; then eval \"rm ${config.x}\"; fi", code("eval")),
            ("trap \"rm ${config.x}\" EXIT", code("trap")),
            ("ssh host \"rm ${config.x}\"", code("ssh")),
            ("ssh host 'rm ${config.x}'", in_code("ssh")),
            ("sudo bash -c 'echo ${config.x}'", in_code("bash")),
            ("bash <<EOF\nrm ${config.x}\nEOF", code("bash")),
            ("python3 - <<EOF\nprint('${config.x}')\nEOF", code("python")),
            ("ssh host 'bash -s' <<EOF\n${config.x}\nEOF", code("ssh")),
            ("ssh host bash <<EOF\n${config.x}\nEOF", code("ssh")),
            ("ssh host <<'EOF'\n${config.x}\nEOF", here("EOF")),
            ("bash <<< \"rm ${config.x}\"", code("bash")),
            ("cat <<EOF | bash\nrm ${config.x}\nEOF", code("bash")),
            ("cat <<EOF | tee log |& sh -s\nrm ${config.x}\nEOF", code("sh")),
            ("echo \"rm ${config.x}\" | sh", code("sh")),
            ("true && printf 'rm %s' \"${config.x}\" |\n  ssh host", code("ssh")),
            ("source <(echo \"${config.x}\")", code("source")),
            ("bash <(echo \"${config.x}\" | sort)", code("bash")),
            ("bash 2> log <<EOF\nrm ${config.x}\nEOF", code("bash")),
            ("bash &> log <<EOF\nrm ${config.x}\nEOF", code("bash")),
            ("su - x <<EOF\n${config.x}\nEOF", code("su")),
            ("sudo -u x -i <<EOF\n${config.x}\nEOF", code("sudo")),
        ] {
            assert_eq!(misplaced(script), expected, "{script}");
        }
    }

    #[test]
    fn any_depth_and_any_end_is_borne() {
        misplaced(&"$(".repeat(100_000));
        misplaced(&"\"$".repeat(100_000));
        misplaced(&format!("{}${{config.x}}", "$${x:-".repeat(100_000)));
        for script in
            ["'", "\"", "\\", "$", "$(", "`", "<<", "<<-'", "<<EOF", "cat <<E\n", "${config.x", "((", "$(("]
        {
            misplaced(script);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_script_is_read(script in "(\\$\\$\\{|\\$\\{config\\.x\\}|[\"'`\\\\$(){}<>#;&|\n\tcase esac]){0,60}") {
            misplaced(&script);
        }
    }
}
