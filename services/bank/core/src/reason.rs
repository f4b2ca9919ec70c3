//! What the refusal codes mean to a customer, in Portuguese.

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
