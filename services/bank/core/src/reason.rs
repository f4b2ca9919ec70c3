//! What the refusal codes mean to a customer, and what to do about them.

use pix_domain::StatusReason;

/// What the code means, for a customer's eyes.
#[must_use]
pub fn meaning_in_portuguese(reason: StatusReason) -> &'static str {
    use StatusReason as R;
    match reason {
        R::AB03 => "liquidação interrompida por tempo esgotado no SPI",
        R::AB09 => "erro no participante do recebedor",
        R::AB11 => "o participante do pagador demorou demais",
        R::AC03 => "agência ou conta do recebedor inexistente",
        R::AC06 => "a conta do recebedor está bloqueada",
        R::AC07 => "a conta do recebedor está encerrada",
        R::AC14 => "tipo incorreto da conta do recebedor",
        R::AG03 => "a conta do recebedor não aceita este tipo de transação",
        R::AG12 => "pagador e recebedor liquidam na mesma conta",
        R::AG13 => "uma devolução não pode ser devolvida",
        R::AGNT => "o remetente não é o liquidante do participante do pagador",
        R::AM01 => "valor igual a zero",
        R::AM02 => "valor acima do limite da conta do recebedor",
        R::AM04 => "saldo insuficiente na Conta PI",
        R::AM09 => "valor acima do pagamento original",
        R::AM12 => "a soma dos valores não confere",
        R::AM18 => "quantidade de transações inválida",
        R::AM23 => "valor acima do limite de liquidação",
        R::BE01 => "CPF/CNPJ não é o do titular da conta",
        R::BE05 => "iniciador de pagamento não cadastrado",
        R::BE15 => "identificador de conciliação incorreto",
        R::BE17 => "QR Code rejeitado pelo recebedor",
        R::CH11 => "CPF/CNPJ do recebedor incorreto",
        R::CH16 => "conteúdo contrário às regras de negócio",
        R::CN01 => "recorrência cancelada",
        R::DS02 => "envio bloqueado",
        R::DS04 => "ordem rejeitada pelo participante do recebedor",
        R::DS0G => "o assinante não pode debitar esta Conta PI",
        R::DS27 => "participante não cadastrado ou inativo",
        R::DT02 => "data e hora da mensagem inválidas",
        R::DT05 => "fora do prazo de devolução",
        R::DU03 => "outra transação tem este EndToEndId",
        R::DUPL => "pagamento em duplicidade",
        R::ED05 => "erro no processamento do pagamento",
        R::FF07 => "finalidade e informações estruturadas não conferem",
        R::FF08 => "EndToEndId inválido",
        R::FRAD => "suspeita de fraude",
        R::INDT => "identificação da transação inválida",
        R::MD01 => "facilitador de saque desconhecido",
        R::RC09 => "ISPB do participante do pagador inválido",
        R::RC10 => "ISPB do participante do recebedor inválido",
        R::RR04 => "motivo regulatório",
        R::RR06 => "motivo fiscal",
        R::SL02 => "não é transação de Saque ou Troco",
        R::UPAY => "sem recorrência válida",
    }
}

/// What a customer can do about a payment that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// What was written about the receiver is wrong.
    CheckReceiver,
    /// The receiver has to do something first.
    AskReceiver,
    /// It may go through in a while.
    TryLater,
    /// The amount is what is wrong.
    ChangeAmount,
    /// Nothing: it is the banks' to mend.
    AskBank,
}

impl Advice {
    /// What to do about a refusal with this code.
    #[must_use]
    pub fn on(reason: StatusReason) -> Self {
        use StatusReason as R;
        match reason {
            R::AC03 | R::AC14 | R::BE01 | R::CH11 | R::RC10 | R::BE15 => Self::CheckReceiver,
            R::AC06
            | R::AC07
            | R::AG03
            | R::BE17
            | R::CN01
            | R::DS04
            | R::DUPL
            | R::FRAD
            | R::SL02
            | R::UPAY
            | R::DT05 => Self::AskReceiver,
            R::AB03 | R::AB09 | R::AB11 | R::AM04 | R::DS02 | R::DS27 | R::ED05 => Self::TryLater,
            R::AM01 | R::AM02 | R::AM09 | R::AM12 | R::AM23 => Self::ChangeAmount,
            R::AG12
            | R::AG13
            | R::AGNT
            | R::AM18
            | R::BE05
            | R::CH16
            | R::DS0G
            | R::DT02
            | R::DU03
            | R::FF07
            | R::FF08
            | R::INDT
            | R::MD01
            | R::RC09
            | R::RR04
            | R::RR06 => Self::AskBank,
        }
    }

    /// A sentence, in English.
    #[must_use]
    pub fn in_english(self) -> &'static str {
        match self {
            Self::CheckReceiver => "Check the receiver's details and pay again.",
            Self::AskReceiver => "Ask the receiver, or pay them another way.",
            Self::TryLater => "Try again in a few minutes.",
            Self::ChangeAmount => "Try another amount.",
            Self::AskBank => "Your bank has to look into it: give it the payment's identifier.",
        }
    }

    /// A sentence, in Portuguese.
    #[must_use]
    pub fn in_portuguese(self) -> &'static str {
        match self {
            Self::CheckReceiver => "Confira os dados de quem recebe e pague de novo.",
            Self::AskReceiver => "Fale com quem recebe, ou pague de outra forma.",
            Self::TryLater => "Tente de novo em alguns minutos.",
            Self::ChangeAmount => "Tente outro valor.",
            Self::AskBank => "Sua instituição precisa verificar: informe a ela o identificador do pagamento.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes of the table in `docs/reason-codes.md`.
    fn documented() -> Vec<&'static str> {
        let rows = include_str!("../../../../docs/reason-codes.md").lines();
        rows.filter_map(|row| Some(row.strip_prefix("| `")?.split_once('`')?.0))
            .collect()
    }

    #[test]
    fn every_documented_code_is_explained_in_both_languages_with_what_to_do() {
        let codes = documented();
        assert_eq!(codes.len(), StatusReason::ALL.len());
        for code in codes {
            let reason = StatusReason::parse(code.as_bytes()).expect(code);
            let (english, portuguese) = (reason.meaning(), meaning_in_portuguese(reason));
            assert!(!english.is_empty() && !portuguese.is_empty(), "{code}");
            assert_ne!(english, portuguese, "{code}");
            let advice = Advice::on(reason);
            assert_ne!(advice.in_english(), advice.in_portuguese(), "{code}");
        }
    }
}
